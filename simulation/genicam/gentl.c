/* A GenTL producer whose camera is a process of the plant (gentl_camera.py), with software triggers.
 *
 * GENTL_REAL names a real producer: what has nothing to do with the camera's features and frames is passed on
 * to it, so that all modules above the camera are real. GENTL_CAMERA is the socket of the camera's process,
 * GENTL_FRAME the file in which it leaves a frame, GENTL_XML the description of its features, GENTL_SWITCHES a
 * switchboard: `gentl-hang` (waiting for a frame does not return) and `gentl-crash` (it ends the process).
 *
 * Messages to the camera: `?`, `start`, `trigger`. From it: `! width height`, and for each frame
 * `F start frame_id incomplete`, where `start` counts the starts. One thread drives a camera.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "gentl.h"

enum { TEXT = 1, INT32 = 5, UINT64 = 8, BOOL8 = 11, POINTER = 10, SIZE = 12 };
enum { MONO8 = 0x01080001, NEW_BUFFER = 1, IN_QUEUE = 1, VALUE = 1 };
enum { XML_AT = 0x10000 };
enum { WIDTH = 0x100, HEIGHT = 0x104, WIDTH_MAX = 0x108, HEIGHT_MAX = 0x10c, FORMAT = 0x110, START = 0x200,
       STOP = 0x204, TRIGGER = 0x208, REGISTERS = 0x1000 };

static int is_on(const char *fault) {
    char name[64];
    double value;
    int found = 0;
    FILE *file = fopen(getenv("GENTL_SWITCHES"), "r");
    while (file && !found && fscanf(file, "%63s %lf", name, &value) == 2) found = !strcmp(name, fault);
    if (file) fclose(file);
    return found;
}

/* ------------------------------------------------------------------ the camera's process */

static int line = -1;
static unsigned starts;
static struct { unsigned frame_id, incomplete; } come[64]; /* frames that have come since the last start */
static unsigned first, count;
static unsigned char registers[REGISTERS];
static W remote, events; /* the camera's port, and the event of its frames */

static uint32_t *at(unsigned address) { return (uint32_t *)(registers + address); }

static void hang_up(void) {
    if (line >= 0) close(line);
    line = -1;
}

/* Take one message, waiting so long; 1: it was an answer, 0: a frame, -1: none came, or the camera is gone. */
static int hear(int within_ms) {
    char said[64] = "";
    unsigned start, frame_id, incomplete;
    struct pollfd watched = {line, POLLIN, 0};
    if (line < 0 || poll(&watched, 1, within_ms) <= 0) return -1;
    if (recv(line, said, sizeof said - 1, 0) <= 0) {
        hang_up();
        return -1;
    }
    if (sscanf(said, "! %u %u", at(WIDTH_MAX), at(HEIGHT_MAX)) == 2) return 1;
    if (sscanf(said, "F %u %u %u", &start, &frame_id, &incomplete) == 3 && start == starts && count < 64) {
        come[(first + count) % 64].frame_id = frame_id;
        come[(first + count++) % 64].incomplete = incomplete;
    }
    return 0;
}

static int say(const char *word) {
    if (line >= 0 && send(line, word, strlen(word), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) return 1;
    hang_up();
    return 0;
}

/* Whether the camera answers. */
static int answers(void) {
    int found = -1;
    if (say("?")) while ((found = hear(200)) == 0);
    return found > 0;
}

static int connected(void) {
    struct sockaddr_un camera = {AF_UNIX, ""};
    strncpy(camera.sun_path, getenv("GENTL_CAMERA"), sizeof camera.sun_path - 1);
    hang_up();
    starts = first = count = 0;
    line = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connect(line, (struct sockaddr *)&camera, sizeof camera)) hang_up();
    if (!answers()) return 0;
    *at(WIDTH) = *at(WIDTH_MAX);
    *at(HEIGHT) = *at(HEIGHT_MAX);
    *at(FORMAT) = MONO8;
    return 1;
}

int32_t IFOpenDevice(W interface, W id, W flags, W device) {
    return connected() ? real(__func__)(interface, id, flags, device, 0, 0, 0, 0) : ACCESS_DENIED;
}

int32_t DevClose(W device) {
    hang_up();
    return real(__func__)(device, 0, 0, 0, 0, 0, 0, 0);
}

int32_t DevGetInfo(W device, W what, W type, W buffer, W size) {
    int32_t answer = real(__func__)(device, what, type, buffer, size, 0, 0, 0);
    if ((int32_t)what == ACCESS_STATUS && line >= 0 && !answers()) *(int32_t *)buffer = NO_ACCESS;
    return answer;
}

/* ------------------------------------------------------------------ its features */

static int32_t give(W type, W buffer, W size, int32_t kind, const void *value, size_t length) {
    *(int32_t *)type = kind;
    if (buffer && *(size_t *)size < length) return -1016; /* too small */
    if (buffer) memcpy((void *)buffer, value, length);
    *(size_t *)size = length;
    return OK;
}

static const char *xml(size_t *length) {
    static char text[1 << 15];
    static size_t read_;
    if (!read_) {
        int file = open(getenv("GENTL_XML"), O_RDONLY);
        ssize_t found = read(file, text, sizeof text);
        close(file);
        read_ = found > 0 ? (size_t)found : 0;
    }
    *length = read_;
    return text;
}

int32_t DevGetPort(W device, W port) {
    int32_t answer = real(__func__)(device, port, 0, 0, 0, 0, 0, 0);
    remote = *(W *)port;
    return answer;
}

int32_t GCGetNumPortURLs(W port, W number) {
    if (port != remote) return real(__func__)(port, number, 0, 0, 0, 0, 0, 0);
    *(uint32_t *)number = 1;
    return OK;
}

int32_t GCGetPortURLInfo(W port, W index, W what, W type, W buffer, W size) {
    char url[64];
    size_t length;
    if (port != remote) return real(__func__)(port, index, what, type, buffer, size, 0, 0);
    xml(&length);
    if (what) return -1014; /* not available */
    snprintf(url, sizeof url, "local:plant.xml;%x;%zx", XML_AT, length);
    return give(type, buffer, size, TEXT, url, strlen(url) + 1);
}

int32_t GCReadPort(W port, W address, W buffer, W size) {
    size_t length, wanted = *(size_t *)size;
    const char *text = xml(&length);
    if (port != remote) return real(__func__)(port, address, buffer, size, 0, 0, 0, 0);
    if (!answers()) return IO;
    if (address + wanted <= REGISTERS) memcpy((void *)buffer, registers + address, wanted);
    else if (address >= XML_AT && address + wanted <= XML_AT + length)
        memcpy((void *)buffer, text + address - XML_AT, wanted);
    else return -1015; /* no such address */
    return OK;
}

int32_t GCWritePort(W port, W address, W buffer, W size) {
    size_t length = *(size_t *)size;
    if (port != remote) return real(__func__)(port, address, buffer, size, 0, 0, 0, 0);
    if (address + length > REGISTERS) return -1015;
    memcpy(registers + address, (void *)buffer, length);
    if (address == START) {
        starts++;
        first = count = 0;
    }
    if (address == START || address == TRIGGER) return say(address == START ? "start" : "trigger") ? OK : IO;
    return answers() ? OK : IO;
}

/* ------------------------------------------------------------------ its frames */

static struct Buffer { char *base; size_t size; void *own; uint64_t frame_id; int incomplete; } buffers[256];
static struct Buffer *free_[256];
static unsigned announced, queued;

static size_t payload(void) { return (size_t)*at(WIDTH) * *at(HEIGHT); }

int32_t DSAnnounceBuffer(W stream, W base, W size, W own, W handle) {
    if (announced == 256) return -1016;
    buffers[announced] = (struct Buffer){(char *)base, size, (void *)own, 0, 0};
    *(W *)handle = (W)&buffers[announced++];
    return OK;
}

int32_t DSRevokeBuffer(W stream, W handle, W base, W own) {
    struct Buffer *buffer = (struct Buffer *)handle;
    if (base) *(void **)base = buffer->base;
    if (own) *(void **)own = buffer->own;
    announced--; /* all are revoked together */
    return OK;
}

int32_t DSQueueBuffer(W stream, W handle) {
    free_[queued++] = (struct Buffer *)handle;
    return OK;
}

int32_t DSFlushQueue(W stream, W how) {
    queued = 0;
    return OK;
}

int32_t DSStartAcquisition(W stream, W flags, W number) { return OK; }

int32_t DSStopAcquisition(W stream, W flags) {
    first = count = 0;
    return OK;
}

int32_t DSGetInfo(W stream, W what, W type, W buffer, W size) {
    uint8_t yes = 1;
    size_t bytes = payload();
    if (what == 9) return give(type, buffer, size, BOOL8, &yes, sizeof yes);
    if (what == 7) return give(type, buffer, size, SIZE, &bytes, sizeof bytes);
    return real(__func__)(stream, what, type, buffer, size, 0, 0, 0);
}

int32_t GCRegisterEvent(W source, W what, W event) {
    int32_t answer = real(__func__)(source, what, event, 0, 0, 0, 0, 0);
    if (what == NEW_BUFFER) events = *(W *)event;
    return answer;
}

int32_t EventGetInfo(W event, W what, W type, W buffer, W size) {
    size_t waiting;
    if (event != events || what != IN_QUEUE) return real(__func__)(event, what, type, buffer, size, 0, 0, 0);
    while (hear(0) == 0);
    waiting = count;
    return give(type, buffer, size, SIZE, &waiting, sizeof waiting);
}

int32_t EventFlush(W event) {
    if (event != events) return real(__func__)(event, 0, 0, 0, 0, 0, 0, 0);
    first = count = 0;
    return OK;
}

static void fill(struct Buffer *buffer) {
    int file = open(getenv("GENTL_FRAME"), O_RDONLY);
    size_t bytes = payload() < buffer->size ? payload() : buffer->size;
    if (file < 0 || pread(file, buffer->base, bytes, 0) != (ssize_t)bytes) buffer->incomplete = 1;
    if (file >= 0) close(file);
}

int32_t EventGetData(W event, W data, W size, W timeout_ms) {
    struct timespec now;
    uint64_t until, ms;
    struct Buffer *buffer;
    if (event != events) return real(__func__)(event, data, size, timeout_ms, 0, 0, 0, 0);
    clock_gettime(CLOCK_MONOTONIC, &now);
    until = now.tv_sec * 1000ull + now.tv_nsec / 1000000 + timeout_ms;
    for (;;) {
        while (is_on("gentl-hang")) usleep(20000);
        if (is_on("gentl-crash")) abort();
        if (count && queued) break;
        clock_gettime(CLOCK_MONOTONIC, &now);
        ms = now.tv_sec * 1000ull + now.tv_nsec / 1000000;
        if (ms >= until) return TIMEOUT;
        if (line < 0) usleep(1000);
        else hear(until - ms < 20 ? (int)(until - ms) : 20);
    }
    buffer = free_[0];
    memmove(free_, free_ + 1, --queued * sizeof *free_);
    buffer->frame_id = come[first % 64].frame_id;
    buffer->incomplete = come[first % 64].incomplete;
    first++;
    count--;
    fill(buffer);
    ((W *)data)[0] = (W)buffer;
    ((W *)data)[1] = (W)buffer->own;
    *(size_t *)size = 2 * sizeof(W);
    return OK;
}

int32_t EventGetDataInfo(W event, W data, W length, W what, W type, W out, W size) {
    if (event != events) return real(__func__)(event, data, length, what, type, out, size, 0);
    if (what != VALUE) return -1014;
    return give(type, out, size, POINTER, (void *)data, sizeof(W));
}

int32_t DSGetBufferInfo(W stream, W handle, W what, W type, W out, W size) {
    struct Buffer *buffer = (struct Buffer *)handle;
    uint8_t yes = 1, no = 0, incomplete = (uint8_t)buffer->incomplete;
    size_t bytes = payload(), width = *at(WIDTH), height = *at(HEIGHT), none = 0;
    uint64_t format = MONO8, space = 1, image = 1;
    switch (what) {
    case 0: return give(type, out, size, POINTER, &buffer->base, sizeof(W));
    case 1: return give(type, out, size, SIZE, &buffer->size, sizeof(size_t));
    case 2: return give(type, out, size, POINTER, &buffer->own, sizeof(W));
    case 4: case 17: return give(type, out, size, BOOL8, &yes, 1);
    case 7: return give(type, out, size, BOOL8, &incomplete, 1);
    case 5: case 6: case 29: case 30: case 31: return give(type, out, size, BOOL8, &no, 1);
    case 9: case 27: return give(type, out, size, SIZE, &bytes, sizeof bytes);
    case 10: return give(type, out, size, SIZE, &width, sizeof width);
    case 11: case 22: return give(type, out, size, SIZE, &height, sizeof height);
    case 12: case 13: case 14: case 15: case 18: return give(type, out, size, SIZE, &none, sizeof none);
    case 16: return give(type, out, size, UINT64, &buffer->frame_id, sizeof(uint64_t));
    case 19: return give(type, out, size, SIZE, &image, sizeof image);
    case 20: return give(type, out, size, UINT64, &format, sizeof format);
    case 21: return give(type, out, size, UINT64, &space, sizeof space);
    default: return -1014; /* not available */
    }
}

/* ------------------------------------------------------------------ the rest is the real producer's, too */

PASS(IFGetNumDevices)
