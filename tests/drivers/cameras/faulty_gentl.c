/* A GenTL producer that passes every call on to another one, and spoils some of them on request.
 *
 * GENTL_REAL names the producer behind it, FAULTY_GENTL_FAULT a file with one word:
 *   gone       frames stop, the camera cannot be reached and does not answer
 *   absent     gone, and no camera is found
 *   busy       the camera is held by another program
 *   hang       waiting for a frame never returns
 *   crash      waiting for a frame ends the process
 *   short      every buffer is incomplete
 *   padded     every line has four bytes of padding
 *   silent     frames stop, and the camera answers
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gentl.h"

enum { IS_INCOMPLETE = 7, XPADDING = 14 };

static int is(const char *fault) {
    char word[32] = "";
    FILE *file = fopen(getenv("FAULTY_GENTL_FAULT"), "r");
    if (!file) return 0;
    if (fscanf(file, "%31s", word) != 1) word[0] = 0;
    fclose(file);
    return !strcmp(word, fault);
}

static int gone(void) { return is("gone") || is("absent"); }

int32_t EventGetData(W event, W buffer, W size, W timeout_ms) {
    if (is("hang")) for (;;) pause();
    if (is("crash")) abort();
    if (gone() || is("silent")) {
        usleep((useconds_t)(timeout_ms * 1000));
        return TIMEOUT;
    }
    return real(__func__)(event, buffer, size, timeout_ms, 0, 0, 0, 0);
}

int32_t DevGetInfo(W device, W what, W type, W buffer, W size) {
    int32_t answer = real(__func__)(device, what, type, buffer, size, 0, 0, 0);
    if ((int32_t)what == ACCESS_STATUS && gone()) *(int32_t *)buffer = NO_ACCESS;
    return answer;
}

int32_t DSGetBufferInfo(W stream, W handle, W what, W type, W buffer, W size) {
    int32_t answer = real(__func__)(stream, handle, what, type, buffer, size, 0, 0);
    if ((int32_t)what == IS_INCOMPLETE && is("short")) *(uint8_t *)buffer = 1;
    if ((int32_t)what == XPADDING && is("padded")) *(size_t *)buffer = 4;
    return answer;
}

int32_t GCReadPort(W port, W address, W buffer, W size) {
    return gone() ? IO : real(__func__)(port, address, buffer, size, 0, 0, 0, 0);
}

int32_t IFGetNumDevices(W interface, W number) {
    int32_t answer = real(__func__)(interface, number, 0, 0, 0, 0, 0, 0);
    if (is("absent")) *(uint32_t *)number = 0;
    return answer;
}

int32_t IFOpenDevice(W interface, W id, W flags, W device) {
    return is("busy") ? ACCESS_DENIED : real(__func__)(interface, id, flags, device, 0, 0, 0, 0);
}

PASS(DSAnnounceBuffer)
PASS(DSFlushQueue)
PASS(DSGetInfo)
PASS(DSQueueBuffer)
PASS(DSRevokeBuffer)
PASS(DSStartAcquisition)
PASS(DSStopAcquisition)
PASS(DevClose)
PASS(DevGetPort)
PASS(EventFlush)
PASS(EventGetDataInfo)
PASS(EventGetInfo)
PASS(GCGetNumPortURLs)
PASS(GCGetPortURLInfo)
PASS(GCRegisterEvent)
PASS(GCWritePort)
