/* Uses all that there is; `witness.zig` does the same. */

#define THEATER_INIT
#define THEATER_UPGRADE
#define THEATER_HANDLE_WEBSOCKET
#define THEATER_HANDLE_BATCH
#define THEATER_HANDLE_CHUNK
#define THEATER_HANDLE_REQUEST
#define THEATER_HANDLE_MESSAGE
#include "theater.h"

#include "equal.h"

theater_result theater_init(void) {
    theater_log(THEATER_LOG_INFO, theater_string("started"));
    return (theater_result){0};
}

theater_decision theater_upgrade(const theater_upgrade_request *request) {
    theater_peer peer = request->peer;
    if (!peer.some) return (theater_decision){0};
    theater_decision decision = {.some = true, .kind = THEATER_REFUSE};
    if (request->subprotocols.count == 0) {
        decision.response = (theater_response_fields){peer.port, request->parameters, request->path};
        return decision;
    }
    theater_bytes *tags = theater_allocate(2 * sizeof *tags);
    tags[0] = request->query;
    tags[1] = theater_string("tag");
    decision.kind = THEATER_ACCEPT;
    decision.accept = (theater_accept){
        theater_some(request->subprotocols.at[1]), request->headers, {tags, 2}, theater_some(peer.address)
    };
    return decision;
}

static theater_reply failed(void) { return (theater_reply){true, {theater_problem}}; }

static theater_reply text(theater_bytes words) { return theater_one(theater_text(words)); }

static theater_reply all(uint64_t connection) {
    theater_options usual = {0}, special = {theater_some(theater_string("key")), true};
    theater_message away = {THEATER_CLOSE, {.close = {1001, theater_string("away")}}};
    theater_message ping = {THEATER_PING, {theater_string("x")}};
    theater_data piece = {THEATER_BINARY, theater_string("piece")};
    theater_data note = {THEATER_TEXT, theater_string("note")}, ask = {THEATER_BINARY, theater_string("ask")};
    if (!theater_send(connection, theater_text(theater_string("one")), special)) return failed();
    if (!theater_send_now(connection, away, usual)) return failed();
    if (!theater_send_chunk(connection, piece, true)) return failed();
    theater_drained(connection);
    if (theater_waiting(connection) != (uint64_t)1 << 40) return theater_nothing();
    if (!theater_close_connection(connection, 1000, theater_string("done"))) return failed();
    if (!theater_set_tags(connection, theater_tags(connection))) return failed();
    if (!theater_set_attachment(connection, theater_attachment(connection))) return failed();
    const theater_info *info = theater_find(connection);
    if (!info) return theater_nothing();
    theater_audience audience = {
        theater_all_connections(), theater_some(info->path), {theater_some(theater_string("")), false}
    };
    if (!theater_broadcast(ping, audience)) return failed();
    theater_address address = theater_own_address();
    if (theater_send_to(address, note).failed) return theater_nothing();
    theater_requested answer = theater_ask(address, ask, 1.5);
    if (answer.failed || !answer.some) return theater_nothing();
    if (!theater_set_state(theater_state())) return failed();
    if (theater_now() + theater_monotonic() == 1.5) theater_log(THEATER_LOG_WARNING, theater_random(4));
    theater_message *messages = theater_allocate(2 * sizeof *messages);
    messages[0] = theater_text(answer.data.bytes);
    messages[1] = (theater_message){THEATER_PONG, {info->headers.at[0].value}};
    return (theater_reply){false, {.messages = messages, .count = 2}};
}

theater_reply theater_handle_websocket(uint64_t connection, theater_event event) {
    theater_list colours = {(theater_bytes[]){theater_string("red"), theater_string("blue")}, 2};
    switch (event.kind) {
    case THEATER_CONNECTED:
        if (!theater_set_tags(connection, colours)) return failed();
        if (!theater_set_attachment(connection, theater_some(theater_string("1")))) return failed();
        return theater_nothing();
    case THEATER_RECEIVED:
        if (event.received.kind == THEATER_TEXT)
            return equal(event.received.bytes, "all") ? all(connection) : text(event.received.bytes);
        if (event.received.kind == THEATER_BINARY)
            return (theater_reply){true, {theater_string("no bytes")}};
        return theater_nothing();
    case THEATER_ERROR:
        return text(event.error);
    case THEATER_CONGESTED:
        return text(theater_string(event.congested == (uint64_t)1 << 40 ? "much" : "little"));
    case THEATER_DRAINED:
        return theater_one((theater_message){THEATER_CLOSE, {.close = {1013, theater_string("slow")}}});
    default:
        return text(event.closed.code == 1001 ? event.closed.reason : theater_string("other"));
    }
}

theater_result theater_handle_batch(theater_batch batch) {
    for (size_t place = 0; place < batch.count; place++) {
        theater_reply reply = theater_handle_websocket(batch.at[place].connection, batch.at[place].event);
        if (reply.failed) return (theater_result){true, reply.problem};
    }
    return (theater_result){0};
}

theater_reply theater_handle_chunk(uint64_t connection, theater_data chunk, bool last) {
    (void)connection;
    return last ? theater_one((theater_message){THEATER_BINARY, {chunk.bytes}}) : text(chunk.bytes);
}

theater_response theater_handle_request(const theater_request *request) {
    if (request->peer.some) return (theater_response){true, {theater_string("TooBusy")}};
    return (theater_response){false, {.response = {201, request->headers, request->body}}};
}

theater_answer theater_handle_message(theater_data message, theater_address sender) {
    if (equal(sender.key, "quiet")) return (theater_answer){0};
    return (theater_answer){false, {.some = true, .data = message}};
}
