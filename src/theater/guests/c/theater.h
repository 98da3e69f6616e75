/* Actors for Theater in C11, by the contract theater:websocket@0.2.0.
 *
 * An actor is one file. It defines the macros of what it handles, includes this file, and defines the
 * function that belongs to each:
 *
 *     THEATER_INIT              theater_result theater_init(void)
 *     THEATER_UPGRADE           theater_decision theater_upgrade(const theater_upgrade_request *)
 *     THEATER_HANDLE_WEBSOCKET  theater_reply theater_handle_websocket(uint64_t connection, theater_event)
 *     THEATER_HANDLE_BATCH      theater_result theater_handle_batch(theater_batch)
 *     THEATER_HANDLE_CHUNK      theater_reply theater_handle_chunk(uint64_t connection, theater_data, bool)
 *     THEATER_HANDLE_REQUEST    theater_response theater_handle_request(const theater_request *)
 *     THEATER_HANDLE_MESSAGE    theater_answer theater_handle_message(theater_data, theater_address sender)
 *
 * What an argument points to, and what a function here or theater_allocate gives, lasts until the call has
 * returned. A handler that returns `failed` undoes its turn.
 *
 * A connection is named by its id. Times are in seconds. Attachments and state are one value in JSON.
 * The structures have the layout of the component model's canonical ABI, so nothing is copied:
 * https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md
 */
#ifndef THEATER_H
#define THEATER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Text in UTF-8, or bytes; not ended by a zero. */
typedef struct { const char *at; size_t length; } theater_bytes;

/* A header field, or a parameter of a path. */
typedef struct { theater_bytes name, value; } theater_field;
typedef struct { const theater_field *at; size_t count; } theater_fields;
typedef struct { const theater_bytes *at; size_t count; } theater_list;
typedef struct { const uint64_t *at; size_t count; } theater_connections;

typedef struct { bool some; theater_bytes value; } theater_optional;

typedef struct { uint16_t code; theater_bytes reason; } theater_close, theater_closed;

enum { THEATER_TEXT, THEATER_BINARY, THEATER_PING, THEATER_PONG, THEATER_CLOSE };

/* `close` if the kind is THEATER_CLOSE, otherwise `bytes`. */
typedef struct { uint8_t kind; union { theater_bytes bytes; theater_close close; }; } theater_message;

/* THEATER_TEXT to THEATER_PONG. */
typedef struct { uint8_t kind; theater_bytes bytes; } theater_incoming;

/* THEATER_TEXT or THEATER_BINARY. */
typedef struct { uint8_t kind; theater_bytes bytes; } theater_data;

enum {
    THEATER_CONNECTED, THEATER_RECEIVED, THEATER_ERROR, THEATER_CONGESTED, THEATER_DRAINED, THEATER_CLOSED
};

/* The member has the name of the kind. */
typedef struct {
    uint8_t kind;
    union { theater_incoming received; theater_bytes error; uint64_t congested; theater_closed closed; };
} theater_event;

typedef struct { uint64_t connection; theater_event event; } theater_item;
typedef struct { const theater_item *at; size_t count; } theater_batch;

typedef struct { bool some; theater_bytes address; uint16_t port; } theater_peer;

typedef struct {
    theater_bytes method, path;
    theater_fields parameters;
    theater_bytes query;
    theater_fields headers;
    theater_bytes body;
    theater_peer peer;
} theater_request;

typedef struct {
    theater_bytes path;
    theater_fields parameters;
    theater_bytes query;
    theater_fields headers;
    theater_list subprotocols;
    theater_peer peer;
} theater_upgrade_request;

typedef struct {
    uint64_t id;
    theater_bytes path;
    theater_fields parameters;
    theater_bytes query;
    theater_fields headers;
    theater_optional subprotocol;
    theater_peer peer;
} theater_info;

struct theater_found { bool some; theater_info info; };

typedef struct { theater_bytes type, key; } theater_address;

enum { THEATER_LOG_DEBUG, THEATER_LOG_INFO, THEATER_LOG_WARNING, THEATER_LOG_ERROR };

/* What a handler returns: with `failed`, the `problem`; otherwise the rest. */

typedef struct { bool failed; theater_bytes problem; } theater_result;

typedef struct {
    bool failed;
    union { theater_bytes problem; struct { const theater_message *messages; size_t count; }; };
} theater_reply;

typedef struct { uint16_t status; theater_fields headers; theater_bytes body; } theater_response_fields;

typedef struct {
    bool failed;
    union { theater_bytes problem; theater_response_fields response; };
} theater_response;

enum { THEATER_ACCEPT, THEATER_REFUSE };

typedef struct {
    theater_optional subprotocol;
    theater_fields headers;
    theater_list tags;
    theater_optional attachment;
} theater_accept;

/* All zero refuses with status 403. */
typedef struct {
    bool failed;
    union {
        theater_bytes problem;
        struct {
            bool some;
            struct { uint8_t kind; union { theater_accept accept; theater_response_fields response; }; };
        };
    };
} theater_decision;

/* All zero answers nothing. */
typedef struct {
    bool failed;
    union { theater_bytes problem; struct { bool some; theater_data data; }; };
} theater_answer;

/* Why another actor could not be reached, or did not answer. */
enum {
    THEATER_INVALID_ADDRESS, THEATER_NO_SUCH_ACTOR, THEATER_MAILBOX_FULL, THEATER_ACTOR_FAILED,
    THEATER_REQUEST_TIMEOUT, THEATER_LOCAL_ERROR
};

typedef struct { uint8_t kind; theater_bytes problem; } theater_actor_error;
typedef struct { bool failed; theater_actor_error error; } theater_sent;
typedef struct {
    bool failed;
    union { theater_actor_error error; struct { bool some; theater_data data; }; };
} theater_requested;

/* How a message is sent; all zero is the usual. With a key it takes the place of a waiting one with the
 * same, where the host keeps the latest for clients that read slowly. Not compressed should be what has
 * a secret in it beside text of somebody else. */
typedef struct { theater_optional key; bool uncompressed; } theater_options;

/* Whom a broadcast goes to; all zero is everybody. */
typedef struct {
    theater_connections exclude;
    theater_optional tag;
    theater_options options;
} theater_audience;

/* Memory */

extern unsigned char __heap_base;
static uintptr_t theater_free = (uintptr_t)&__heap_base;

/* Memory for one call, as aligned as anything needs; traps if there is none. */
static inline void *theater_allocate(size_t length) {
    uintptr_t start = (theater_free + 15) & ~(uintptr_t)15, page = 65536;
    uintptr_t end = start + length, have = __builtin_wasm_memory_size(0) * page;
    if (end < start) __builtin_trap();
    if (end > have && __builtin_wasm_memory_grow(0, (end - have + page - 1) / page) == SIZE_MAX)
        __builtin_trap();
    theater_free = end;
    return (void *)start;
}

__attribute__((export_name("cabi_realloc")))
void *theater_realloc(void *old, size_t had, size_t align, size_t length) {
    (void)align;
    if (length <= had) return old;
    unsigned char *start = theater_allocate(length);
    for (size_t place = 0; place < had; place++) start[place] = ((unsigned char *)old)[place];
    return start;
}

static inline void theater_reset(void) { theater_free = (uintptr_t)&__heap_base; }

/* Helpers */

static inline theater_bytes theater_string(const char *text) {
    return (theater_bytes){text, __builtin_strlen(text)};
}

static inline theater_optional theater_some(theater_bytes value) {
    return (theater_optional){true, value};
}

static inline theater_message theater_text(theater_bytes text) {
    return (theater_message){THEATER_TEXT, {text}};
}

/* No message. */
static inline theater_reply theater_nothing(void) { return (theater_reply){0}; }

/* One message. */
static inline theater_reply theater_one(theater_message message) {
    theater_message *messages = theater_allocate(sizeof message);
    *messages = message;
    return (theater_reply){false, {.messages = messages, .count = 1}};
}

/* What the host can do. A bool says whether it did; if not, the sentence why is in theater_problem. */

__attribute__((unused)) static theater_bytes theater_problem;

static inline bool theater_ok(theater_result result) {
    if (result.failed) theater_problem = result.problem;
    return !result.failed;
}

#define THEATER_HOST(interface, name) \
    __attribute__((import_module("theater:websocket/" interface "@0.2.0"), import_name(name))) extern

#define THEATER_OPTIONAL bool, const char *, size_t
#define THEATER_MESSAGE uint32_t, uintptr_t, uintptr_t, size_t

THEATER_HOST("websocket", "send-message")
void theater_host_send_message(uint64_t, THEATER_MESSAGE, THEATER_OPTIONAL, bool, theater_result *);
THEATER_HOST("websocket", "send-now")
void theater_host_send_now(uint64_t, THEATER_MESSAGE, THEATER_OPTIONAL, bool, theater_result *);
THEATER_HOST("websocket", "send-chunk")
void theater_host_send_chunk(uint64_t, uint32_t, const char *, size_t, bool, theater_result *);
THEATER_HOST("websocket", "drained") void theater_drained(uint64_t connection);
THEATER_HOST("websocket", "get-waiting") uint64_t theater_waiting(uint64_t connection);
THEATER_HOST("websocket", "close-connection")
void theater_host_close(uint64_t, uint32_t, const char *, size_t, theater_result *);
THEATER_HOST("websocket", "get-tags") void theater_host_get_tags(uint64_t, theater_list *);
THEATER_HOST("websocket", "set-tags")
void theater_host_set_tags(uint64_t, const theater_bytes *, size_t, theater_result *);
THEATER_HOST("websocket", "get-attachment") void theater_host_get_attachment(uint64_t, theater_optional *);
THEATER_HOST("websocket", "set-attachment")
void theater_host_set_attachment(uint64_t, THEATER_OPTIONAL, theater_result *);
THEATER_HOST("websocket", "get-connections") void theater_host_get_connections(theater_connections *);
THEATER_HOST("websocket", "find-connection")
void theater_host_find_connection(uint64_t, struct theater_found *);
THEATER_HOST("websocket", "broadcast")
void theater_host_broadcast(
    THEATER_MESSAGE, const uint64_t *, size_t, THEATER_OPTIONAL, THEATER_OPTIONAL, bool, theater_result *
);
THEATER_HOST("actors", "get-address") void theater_host_get_address(theater_address *);
THEATER_HOST("actors", "send")
void theater_host_send(
    const char *, size_t, const char *, size_t, uint32_t, const char *, size_t, theater_sent *
);
THEATER_HOST("actors", "request")
void theater_host_request(
    const char *, size_t, const char *, size_t, uint32_t, const char *, size_t, bool, double,
    theater_requested *
);
THEATER_HOST("state", "get-state") void theater_host_get_state(theater_optional *);
THEATER_HOST("state", "set-state") void theater_host_set_state(THEATER_OPTIONAL, theater_result *);
THEATER_HOST("host", "log") void theater_host_log(uint32_t, const char *, size_t);
THEATER_HOST("host", "random") void theater_host_random(uint32_t, theater_bytes *);

/* Seconds since 1970-01-01, UTC. */
THEATER_HOST("host", "now") double theater_now(void);

/* Seconds since some fixed moment. */
THEATER_HOST("host", "monotonic") double theater_monotonic(void);

/* Arguments as the host takes them. */
#define THEATER_BYTES_OF(bytes) (bytes).at, (bytes).length
#define THEATER_OPTIONAL_OF(optional) (optional).some, THEATER_BYTES_OF((optional).value)
#define THEATER_MESSAGE_OF(message) \
    (message).kind, theater_word(message, 0), theater_word(message, 1), theater_word(message, 2)
#define THEATER_OPTIONS_OF(options) THEATER_OPTIONAL_OF((options).key), !(options).uncompressed

static inline uintptr_t theater_word(theater_message message, int place) {
    if (message.kind == THEATER_CLOSE) {
        if (place == 0) return message.close.code;
        return place == 1 ? (uintptr_t)message.close.reason.at : message.close.reason.length;
    }
    if (place == 0) return (uintptr_t)message.bytes.at;
    return place == 1 ? message.bytes.length : 0;
}

/* Sends a message when the turn has succeeded. */
static inline bool theater_send(uint64_t connection, theater_message message, theater_options options) {
    theater_result result;
    theater_host_send_message(
        connection, THEATER_MESSAGE_OF(message), THEATER_OPTIONS_OF(options), &result
    );
    return theater_ok(result);
}

/* Sends a message at once, and waits while the client does not keep up, if that is the host's policy. */
static inline bool theater_send_now(uint64_t connection, theater_message message, theater_options options) {
    theater_result result;
    theater_host_send_now(connection, THEATER_MESSAGE_OF(message), THEATER_OPTIONS_OF(options), &result);
    return theater_ok(result);
}

/* Sends a piece of a message at once, and waits while the client does not keep up. */
static inline bool theater_send_chunk(uint64_t connection, theater_data chunk, bool last) {
    theater_result result;
    theater_host_send_chunk(connection, chunk.kind, THEATER_BYTES_OF(chunk.bytes), last, &result);
    return theater_ok(result);
}

/* Begins the closing handshake when the turn has succeeded. */
static inline bool theater_close_connection(uint64_t connection, uint16_t code, theater_bytes reason) {
    theater_result result;
    theater_host_close(connection, code, THEATER_BYTES_OF(reason), &result);
    return theater_ok(result);
}

/* Labels to find connections by. */
static inline theater_list theater_tags(uint64_t connection) {
    theater_list tags;
    theater_host_get_tags(connection, &tags);
    return tags;
}

/* Replaces all tags. */
static inline bool theater_set_tags(uint64_t connection, theater_list tags) {
    theater_result result;
    theater_host_set_tags(connection, tags.at, tags.count, &result);
    return theater_ok(result);
}

/* What was kept with the connection. */
static inline theater_optional theater_attachment(uint64_t connection) {
    theater_optional attachment;
    theater_host_get_attachment(connection, &attachment);
    return attachment;
}

/* Keeps a value with the connection. */
static inline bool theater_set_attachment(uint64_t connection, theater_optional json) {
    theater_result result;
    theater_host_set_attachment(connection, THEATER_OPTIONAL_OF(json), &result);
    return theater_ok(result);
}

/* All of this actor's connections. */
static inline theater_connections theater_all_connections(void) {
    theater_connections all;
    theater_host_get_connections(&all);
    return all;
}

/* The facts of a connection; a null pointer if it has ended. */
static inline const theater_info *theater_find(uint64_t connection) {
    struct theater_found *found = theater_allocate(sizeof *found);
    theater_host_find_connection(connection, found);
    return found->some ? &found->info : NULL;
}

/* Sends a message to all of this actor's connections when the turn has succeeded. */
static inline bool theater_broadcast(theater_message message, theater_audience audience) {
    theater_result result;
    theater_host_broadcast(
        THEATER_MESSAGE_OF(message), audience.exclude.at, audience.exclude.count,
        THEATER_OPTIONAL_OF(audience.tag), THEATER_OPTIONS_OF(audience.options), &result
    );
    return theater_ok(result);
}

/* Where this actor is found. */
static inline theater_address theater_own_address(void) {
    theater_address address;
    theater_host_get_address(&address);
    return address;
}

/* Sends a message to another actor when the turn has succeeded. */
static inline theater_sent theater_send_to(theater_address address, theater_data message) {
    theater_sent sent;
    theater_host_send(
        THEATER_BYTES_OF(address.type), THEATER_BYTES_OF(address.key),
        message.kind, THEATER_BYTES_OF(message.bytes), &sent
    );
    return sent;
}

/* Sends a message to another actor at once, and waits for what its handler returns; not longer than
 * `timeout`, or than the host allows if that is negative. */
static inline theater_requested theater_ask(theater_address address, theater_data message, double timeout) {
    theater_requested requested;
    theater_host_request(
        THEATER_BYTES_OF(address.type), THEATER_BYTES_OF(address.key),
        message.kind, THEATER_BYTES_OF(message.bytes), timeout >= 0, timeout, &requested
    );
    return requested;
}

/* What was kept. */
static inline theater_optional theater_state(void) {
    theater_optional state;
    theater_host_get_state(&state);
    return state;
}

/* Keeps a value with the actor, so that it outlives the instance. */
static inline bool theater_set_state(theater_optional json) {
    theater_result result;
    theater_host_set_state(THEATER_OPTIONAL_OF(json), &result);
    return theater_ok(result);
}

/* Writes a line to the log. */
static inline void theater_log(uint32_t level, theater_bytes line) {
    theater_host_log(level, THEATER_BYTES_OF(line));
}

/* Random bytes, at most 65,536. */
static inline theater_bytes theater_random(uint32_t count) {
    theater_bytes bytes;
    theater_host_random(count, &bytes);
    return bytes;
}

#if !defined THEATER_INIT && !defined THEATER_UPGRADE && !defined THEATER_HANDLE_WEBSOCKET \
    && !defined THEATER_HANDLE_BATCH && !defined THEATER_HANDLE_CHUNK \
    && !defined THEATER_HANDLE_REQUEST && !defined THEATER_HANDLE_MESSAGE
#error "the actor handles nothing: define THEATER_HANDLE_WEBSOCKET or another before theater.h is included"
#endif

/* What the host calls. The arguments are flattened, as the canonical ABI says; the result is where the
 * host finds it. */

#define THEATER_EXPORT(name) \
    __attribute__((export_name("cabi_post_theater:websocket/" name))) \
    void THEATER_UNIQUE(theater_after_, __LINE__)(const void *result) { (void)result; theater_reset(); } \
    __attribute__((export_name("theater:websocket/" name)))
#define THEATER_UNIQUE(name, line) THEATER_PASTE(name, line)
#define THEATER_PASTE(name, line) name##line

#define THEATER_RETURN(type, value) \
    static type theater_returned; \
    theater_returned = value; \
    return &theater_returned

#define THEATER_PAIR(name) const void *name, size_t name##_length
#define THEATER_BYTES(name) {name, name##_length}
#define THEATER_PEER bool has_peer, THEATER_PAIR(peer_address), uint32_t peer_port
#define THEATER_PEER_VALUE {has_peer, THEATER_BYTES(peer_address), (uint16_t)peer_port}

#ifdef THEATER_INIT
theater_result theater_init(void);

THEATER_EXPORT("lifecycle@0.2.0#init")
const void *theater_export_init(void) { THEATER_RETURN(theater_result, theater_init()); }
#endif

#ifdef THEATER_UPGRADE
theater_decision theater_upgrade(const theater_upgrade_request *request);

THEATER_EXPORT("websocket-upgrade@0.2.0#upgrade-connection")
const void *theater_export_upgrade(
    THEATER_PAIR(path), THEATER_PAIR(parameters), THEATER_PAIR(query), THEATER_PAIR(headers),
    THEATER_PAIR(subprotocols), THEATER_PEER
) {
    theater_upgrade_request request = {
        THEATER_BYTES(path), THEATER_BYTES(parameters), THEATER_BYTES(query), THEATER_BYTES(headers),
        THEATER_BYTES(subprotocols), THEATER_PEER_VALUE
    };
    THEATER_RETURN(theater_decision, theater_upgrade(&request));
}
#endif

#ifdef THEATER_HANDLE_WEBSOCKET
theater_reply theater_handle_websocket(uint64_t connection, theater_event event);

/* The payload's three slots are shared by the cases; the first holds a number of 64 bits. */
THEATER_EXPORT("websocket-actor@0.2.0#handle-websocket")
const void *theater_export_websocket(
    uint64_t connection, uint32_t kind, uint64_t first, uintptr_t second, uintptr_t third
) {
    theater_event event = {(uint8_t)kind, {{0}}};
    theater_bytes late = {(const char *)second, third};
    if (kind == THEATER_RECEIVED) event.received = (theater_incoming){(uint8_t)first, late};
    if (kind == THEATER_ERROR) event.error = (theater_bytes){(const char *)(uintptr_t)first, second};
    if (kind == THEATER_CONGESTED) event.congested = first;
    if (kind == THEATER_CLOSED) event.closed = (theater_closed){(uint16_t)first, late};
    THEATER_RETURN(theater_reply, theater_handle_websocket(connection, event));
}
#endif

#ifdef THEATER_HANDLE_BATCH
theater_result theater_handle_batch(theater_batch batch);

THEATER_EXPORT("batch-actor@0.2.0#handle-batch")
const void *theater_export_batch(THEATER_PAIR(batch)) {
    THEATER_RETURN(theater_result, theater_handle_batch((theater_batch)THEATER_BYTES(batch)));
}
#endif

#ifdef THEATER_HANDLE_CHUNK
theater_reply theater_handle_chunk(uint64_t connection, theater_data chunk, bool last);

THEATER_EXPORT("stream-actor@0.2.0#handle-chunk")
const void *theater_export_chunk(uint64_t connection, uint32_t kind, THEATER_PAIR(bytes), bool last) {
    theater_data chunk = {(uint8_t)kind, THEATER_BYTES(bytes)};
    THEATER_RETURN(theater_reply, theater_handle_chunk(connection, chunk, last));
}
#endif

#ifdef THEATER_HANDLE_REQUEST
theater_response theater_handle_request(const theater_request *request);

THEATER_EXPORT("http-actor@0.2.0#handle-request")
const void *theater_export_request(
    THEATER_PAIR(method), THEATER_PAIR(path), THEATER_PAIR(parameters), THEATER_PAIR(query),
    THEATER_PAIR(headers), THEATER_PAIR(body), THEATER_PEER
) {
    theater_request request = {
        THEATER_BYTES(method), THEATER_BYTES(path), THEATER_BYTES(parameters), THEATER_BYTES(query),
        THEATER_BYTES(headers), THEATER_BYTES(body), THEATER_PEER_VALUE
    };
    THEATER_RETURN(theater_response, theater_handle_request(&request));
}
#endif

#ifdef THEATER_HANDLE_MESSAGE
theater_answer theater_handle_message(theater_data message, theater_address sender);

THEATER_EXPORT("message-actor@0.2.0#handle-message")
const void *theater_export_message(
    uint32_t kind, THEATER_PAIR(bytes), THEATER_PAIR(type), THEATER_PAIR(key)
) {
    theater_data message = {(uint8_t)kind, THEATER_BYTES(bytes)};
    theater_address sender = {THEATER_BYTES(type), THEATER_BYTES(key)};
    THEATER_RETURN(theater_answer, theater_handle_message(message, sender));
}
#endif

#endif
