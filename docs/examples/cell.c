/* A cell for an inspection station on a serial line, in plain C: one part after another, as a PLC would do it.
 *
 *     cc -O2 -o cell cell.c
 *     ./cell /dev/ttyUSB0 100 [seed]      100 parts; with a seed, one message in eight is lost or spoiled
 *
 * It follows docs/serial-protocol.md, version 1, and shares no code with the station. Take the parts that you
 * need: crc32, send_frame and read_frame are the wire, heard and scan are the rules. The places where a real
 * cell moves its robot and its gate are marked with MACHINE. It prints one line per part:
 *
 *     part 1 bin 0 accept          part 2 bin 9 no verdict in time
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { HELLO = 0x01, HEARTBEAT = 0x02, TRIGGER = 0x10, TRIGGER_ACK = 0x11, TRIGGER_REFUSED = 0x12,
       RESULT = 0x20, RESULT_ACK = 0x21, FAULT = 0x30 };
enum { STX = 0x02, ETX = 0x03, DLE = 0x10, LONGEST = 111 };
enum { GOOD_BIN = 0, REJECT_BIN = 9, HEARTBEAT_MS = 250, LINK_MS = 1000, RESEND_MS = 50, AGAIN_MS = 100,
       VERDICT_MS = 1500, REMEMBERED = 256 };

static int line;                     /* the serial device */
static unsigned lossy;               /* one message in so many is lost or spoiled; 0: none */
static uint16_t own, station;        /* sessions; 0: not known yet */
static uint32_t number;              /* of the last message that was sent */
static uint32_t highest, last_beat;  /* numbers of the station */
static long heard_ms = -LINK_MS, hello_ms, beat_ms;
static int up, trigger_ready;
static struct {                      /* the part in place; trigger 0: it is not triggered */
    uint32_t id, trigger;
    int acknowledged, refusals;
    long since_ms, next_ms;
} part;
static struct { uint32_t trigger, id; uint8_t bin; } done[REMEMBERED];
static unsigned done_count;

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}

/* ---- the wire ------------------------------------------------------------------------------------------ */

static uint32_t crc32(const uint8_t *bytes, size_t count) {
    uint32_t crc = 0xFFFFFFFF;
    while (count--) {
        crc ^= *bytes++;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
    }
    return ~crc;
}

static void put32(uint8_t *at, uint32_t value) {
    for (int byte = 0; byte < 4; byte++) at[byte] = (uint8_t)(value >> (24 - 8 * byte));
}

static uint32_t get32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void send_frame(int type, uint16_t receiver, uint32_t sequence, const uint8_t *payload, size_t count) {
    uint8_t content[LONGEST], frame[2 * LONGEST + 2];
    size_t size = 11 + count, used = 0;
    content[0] = 1;
    content[1] = (uint8_t)type;
    content[2] = (uint8_t)(own >> 8), content[3] = (uint8_t)own;
    content[4] = (uint8_t)(receiver >> 8), content[5] = (uint8_t)receiver;
    put32(content + 6, sequence);
    content[10] = (uint8_t)count;
    memcpy(content + 11, payload, count);
    put32(content + size, crc32(content, size));
    frame[used++] = STX;
    for (size_t at = 0; at < size + 4; at++) {
        if (content[at] == STX || content[at] == ETX || content[at] == DLE) {
            frame[used++] = DLE;
            frame[used++] = content[at] ^ 0x20;
        } else {
            frame[used++] = content[at];
        }
    }
    frame[used++] = ETX;
    if (lossy && (unsigned)rand() % lossy == 0) {
        if (rand() % 2) return;
        frame[(size_t)rand() % used] ^= 0x40;
    }
    if (write(line, frame, used) < 0 && errno != EAGAIN) perror("write");
}

static void send_new(int type, const uint8_t *payload, size_t count) {
    send_frame(type, station, ++number, payload, count);
}

/* One byte of the line; the size of a whole and right content, else 0. */
static size_t read_frame(uint8_t byte, uint8_t *content) {
    static size_t used;
    static int inside, escaped;
    if (byte == STX) {
        used = 0, inside = 1, escaped = 0;
    } else if (inside && byte == ETX) {
        inside = 0;
        if (!escaped && used >= 15 && used == 15u + content[10] &&
            get32(content + used - 4) == crc32(content, used - 4)) return used - 4;
    } else if (inside && byte == DLE && !escaped) {
        escaped = 1;
    } else if (inside) {
        uint8_t plain = escaped ? byte ^ 0x20 : byte;
        if (used == LONGEST || (escaped && plain != STX && plain != ETX && plain != DLE)) inside = 0;
        else content[used++] = plain;
        escaped = 0;
    }
    return 0;
}

/* ---- the rules ----------------------------------------------------------------------------------------- */

static void say_hello(uint16_t receiver) {
    const uint8_t payload[] = {2, 'c', 'e', 'l', 'l', '.', 'c'};
    send_frame(HELLO, receiver, ++number, payload, sizeof payload);
}

static void say_heartbeat(void) {
    const uint8_t payload[] = {1, part.id ? 2 : 1};
    send_new(HEARTBEAT, payload, sizeof payload);
    beat_ms = now_ms() + HEARTBEAT_MS;
}

static void sort(uint8_t bin, const char *why) {
    /* MACHINE: set the gate to this bin, let the part pass, and go on when it can no longer change its bin. */
    printf("part %u bin %u %s\n", part.id, bin, why);
    fflush(stdout);
    if (part.trigger) {
        unsigned at = done_count++ % REMEMBERED;
        done[at].trigger = part.trigger, done[at].id = part.id, done[at].bin = bin;
    }
    part.id = part.trigger = 0;
}

static void acknowledge(uint32_t trigger, uint32_t id) {
    uint8_t payload[10] = {0};
    put32(payload, trigger);
    put32(payload + 4, id);
    payload[8] = 2; /* no such part */
    for (unsigned at = 0; at < REMEMBERED && at < done_count; at++) {
        if (done[at].trigger == trigger && done[at].id == id) payload[8] = 1, payload[9] = done[at].bin;
    }
    send_new(RESULT_ACK, payload, sizeof payload);
}

/* In a frame that every end can read: what this cell speaks. The station then goes on in version 1. */
static void say_version(void) {
    const uint8_t payload[] = {1, 't', 'h', 'i', 's', ' ', 'c', 'e', 'l', 'l', ' ', 's', 'p', 'e', 'a', 'k', 's', ' ',
                               'v', 'e', 'r', 's', 'i', 'o', 'n', ' ', '1'};
    send_frame(FAULT, 0, ++number, payload, sizeof payload);
}

static void heard(const uint8_t *content, size_t size) {
    static const char *const outcomes[] = {"", "accept", "reject", "fault"};
    int type = content[1];
    uint16_t sender = (uint16_t)(content[2] << 8 | content[3]);
    uint16_t receiver = (uint16_t)(content[4] << 8 | content[5]);
    uint32_t sequence = get32(content + 6);
    const uint8_t *payload = content + 11;
    size_t count = size - 11;
    if (content[0] != 1) {
        say_version();
        return;
    }
    if (!sender || (type == HELLO && (count < 1 || payload[0] != 1))) return; /* not a station */
    if (receiver != own) { /* the other end does not know this session yet */
        if (type == HELLO) say_hello(sender);
        return;
    }
    if (sender != station) { /* the station restarted, or is met for the first time */
        if (type != HELLO && type != HEARTBEAT) return;
        if (part.id && part.trigger) sort(REJECT_BIN, "station restarted");
        station = sender, highest = last_beat = 0, up = trigger_ready = 0;
    }
    if (type == HEARTBEAT) {
        if (count < 2 || sequence <= last_beat) return;
        last_beat = sequence, trigger_ready = payload[0];
    }
    if (sequence > highest) {
        highest = sequence, heard_ms = now_ms();
        if (!up || type == HELLO) up = 1, say_heartbeat();
    }
    if (count < 8 || type < TRIGGER_ACK) return;
    uint32_t trigger = get32(payload), id = get32(payload + 4);
    int ours = part.id && part.trigger == trigger && part.id == id;
    if (type == TRIGGER_ACK && ours) {
        part.acknowledged = 1;
    } else if (type == TRIGGER_REFUSED && count >= 9 && ours) {
        if (payload[8] == 2 || ++part.refusals == 100) sort(REJECT_BIN, "trigger refused");
        else part.trigger = 0, part.acknowledged = 0, part.next_ms = now_ms() + AGAIN_MS;
    } else if (type == RESULT && count >= 11) {
        int outcome = payload[8], bin = payload[9];
        if (ours && outcome >= 1 && outcome <= 3 && (outcome == 1) == (bin == GOOD_BIN)) sort((uint8_t)bin, outcomes[outcome]);
        else if (ours) sort(REJECT_BIN, "outcome and bin contradict");
        acknowledge(trigger, id);
    }
}

static void scan(void) {
    long now = now_ms();
    if (up && now - heard_ms >= LINK_MS) up = trigger_ready = 0, hello_ms = now;
    if (!up && now >= hello_ms) say_hello(0), hello_ms = now + HEARTBEAT_MS;
    if (station && now >= beat_ms) say_heartbeat();
    if (!part.id || now < part.next_ms) return;
    if (part.trigger && now - part.since_ms >= VERDICT_MS) {
        sort(REJECT_BIN, "no verdict in time");
    } else if (part.trigger ? !part.acknowledged : up && trigger_ready) {
        uint8_t payload[4];
        put32(payload, part.id);
        if (!part.trigger) part.trigger = ++number, part.since_ms = now;
        send_frame(TRIGGER, station, part.trigger, payload, sizeof payload); /* again with its own number */
        part.next_ms = now + RESEND_MS;
    }
}

int main(int count, char **words) {
    if (count < 3) {
        fprintf(stderr, "usage: %s DEVICE PARTS [SEED]\n", words[0]);
        return 2;
    }
    line = open(words[1], O_RDWR | O_NOCTTY | O_NONBLOCK);
    struct termios mode;
    if (line < 0 || tcgetattr(line, &mode) < 0) {
        perror(words[1]);
        return 1;
    }
    cfmakeraw(&mode);
    cfsetspeed(&mode, B115200);
    tcsetattr(line, TCSANOW, &mode);
    srand((unsigned)(time(NULL) ^ getpid()));
    own = (uint16_t)(1 + rand() % 65535); /* a PLC counts its starts in retained memory instead */
    if (count > 3) lossy = 8, srand((unsigned)atoi(words[3]));
    uint8_t content[LONGEST], bytes[256];
    uint32_t wanted = (uint32_t)atoi(words[2]), placed = 0;
    while (placed < wanted || part.id) {
        if (!part.id) { /* MACHINE: place the next part; go on when it lies still before the camera. */
            part.id = ++placed, part.trigger = 0;
            part.acknowledged = part.refusals = 0;
            part.since_ms = part.next_ms = now_ms();
        }
        scan();
        struct pollfd ready = {line, POLLIN, 0};
        if (poll(&ready, 1, 5) > 0) {
            ssize_t got = read(line, bytes, sizeof bytes);
            if (got == 0 || (got < 0 && errno != EAGAIN)) {
                fprintf(stderr, "%s was lost\n", words[1]);
                return 1;
            }
            for (ssize_t at = 0; at < got; at++) {
                size_t size = read_frame(bytes[at], content);
                if (size) heard(content, size);
            }
        }
    }
    for (long until = now_ms() + 300; now_ms() < until;) { /* repeated results are still answered */
        scan();
        ssize_t got = read(line, bytes, sizeof bytes);
        for (ssize_t at = 0; at < got; at++) {
            size_t size = read_frame(bytes[at], content);
            if (size) heard(content, size);
        }
        usleep(5000);
    }
    return 0;
}
