/* What a GenTL producer needs that passes calls on to a real one, whose file GENTL_REAL names.
 *
 * Every function of GenTL returns an int32_t and takes at most eight arguments, each of the size of a pointer.
 * The functions here are passed on by every producer of ours; each adds PASS(NAME) for others, or its own.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

typedef uintptr_t W;
typedef int32_t (*Call)(W, W, W, W, W, W, W, W);
enum { OK = 0, ACCESS_DENIED = -1005, IO = -1010, TIMEOUT = -1011 };
enum { ACCESS_STATUS = 5, NO_ACCESS = 3 };

static Call real(const char *name) {
    static void *library;
    if (!library) library = dlopen(getenv("GENTL_REAL"), RTLD_NOW | RTLD_LOCAL);
    if (!library) abort();
    return (Call)dlsym(library, name);
}

#define PASS(name) \
    int32_t name(W a, W b, W c, W d, W e, W f, W g, W h) { \
        static Call call; \
        if (!call) call = real(#name); \
        return call(a, b, c, d, e, f, g, h); \
    }

PASS(DSAllocAndAnnounceBuffer)
PASS(DSAnnounceCompositeBuffer)
PASS(DSClose)
PASS(DSGetBufferChunkData)
PASS(DSGetBufferID)
PASS(DSGetBufferInfoStacked)
PASS(DSGetBufferPartInfo)
PASS(DSGetBufferPartInfoStacked)
PASS(DSGetBufferSegmentInfo)
PASS(DSGetFlowInfo)
PASS(DSGetNumBufferParts)
PASS(DSGetNumBufferSegments)
PASS(DSGetNumFlows)
PASS(DSGetParentDev)
PASS(DevGetDataStreamID)
PASS(DevGetNumDataStreams)
PASS(DevGetParentIF)
PASS(DevOpenDataStream)
PASS(EventKill)
PASS(GCCloseLib)
PASS(GCGetInfo)
PASS(GCGetLastError)
PASS(GCGetPortInfo)
PASS(GCGetPortURL)
PASS(GCInitLib)
PASS(GCReadPortStacked)
PASS(GCUnregisterEvent)
PASS(GCWritePortStacked)
PASS(IFClose)
PASS(IFGetDeviceID)
PASS(IFGetDeviceInfo)
PASS(IFGetInfo)
PASS(IFGetParentTL)
PASS(IFUpdateDeviceList)
PASS(TLClose)
PASS(TLGetInfo)
PASS(TLGetInterfaceID)
PASS(TLGetInterfaceInfo)
PASS(TLGetNumInterfaces)
PASS(TLOpen)
PASS(TLOpenInterface)
PASS(TLUpdateInterfaceList)
