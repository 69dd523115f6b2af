/* The binary contract between extprocd and its plugins. C99; usable from C++ as it is.
 *
 * C++ authors use <extproc/plugin.hpp>, which is compiled into the plugin and speaks this contract for them.
 *
 * Conventions
 *  1. A module exports one function, extproc_plugin_entry_v1, that returns a static descriptor. All services
 *     of the host come as tables of functions, so a module has no undefined host symbols.
 *  2. Every table and every struct that may grow begins with its own size in bytes. Fields are only appended.
 *     A reader looks at a field only if EXTPROC_HAS says that it is there, and calls a function pointer only if
 *     it is not null. Nothing is ever reordered, resized or reused.
 *  3. Optional areas are extensions, fetched by name and revision: get_extension(host, "extproc.config/1").
 *  4. Strings are bytes with a length, not ended by NUL, but for the names in the descriptor and of extensions.
 *     What the host hands out is borrowed for the time stated. What a plugin hands in is copied before the call
 *     returns. Nothing is freed across the boundary.
 *  5. No exception and no longjmp crosses the boundary, in either direction.
 *  6. Every function carries one tag:
 *       [load]       one thread, while plugins are created or destroyed, never together with traffic on the
 *                    same instance;
 *       [stream]     any thread of the host, but never two at once for the same stream; only inside a
 *                    callback that got the extproc_call;
 *       [any-thread] any thread, at any time between create and the return of destroy.
 *     An instance serves all streams: what it keeps is read by many threads at once.
 *  7. Numbers with names are uint32_t. A plugin ignores numbers from the host that it does not know; a number
 *     from a plugin that the host does not know is a failure of that plugin.
 */
#ifndef EXTPROC_ABI_H_
#define EXTPROC_ABI_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EXTPROC_ABI_MAJOR 1u
#define EXTPROC_ABI_MINOR 2u

/* Is `field` inside the struct that `object` points to, by the size that it states? */
#define EXTPROC_HAS(object, type, field) \
  ((object)->struct_size >= offsetof(type, field) + sizeof((object)->field))

/* ---- Words
 * ------------------------------------------------------------------------------------------------- */

typedef struct extproc_str {
  const char* data; /* may be null when size is 0 */
  size_t size;      /* bytes */
} extproc_str;

typedef struct extproc_header {
  extproc_str name;  /* lower case */
  extproc_str value; /* opaque bytes */
} extproc_header;

/* What a host call answers. Anything but EXTPROC_OK means that nothing was changed; last_error() says why. */
typedef uint32_t extproc_status;
#define EXTPROC_OK 0u
#define EXTPROC_NOT_FOUND 1u /* no such header, key, attribute; or that map has not come (yet) */
#define EXTPROC_INVALID \
  2u /* malformed: bytes not allowed in a name or value, null where none may be, bad number */
#define EXTPROC_FORBIDDEN 3u   /* the data plane, or the operator's mutation rules, would refuse it */
#define EXTPROC_TOO_LATE 4u    /* the phase in which this could be changed is over */
#define EXTPROC_LIMIT 5u       /* over a limit: entries, bytes */
#define EXTPROC_UNSUPPORTED 6u /* this data plane, body mode or phase cannot do it */

/* Phases. The header and trailer phases also name the header map of that phase. */
#define EXTPROC_REQUEST_HEADERS 0u
#define EXTPROC_REQUEST_BODY 1u
#define EXTPROC_REQUEST_TRAILERS 2u
#define EXTPROC_RESPONSE_HEADERS 3u
#define EXTPROC_RESPONSE_BODY 4u
#define EXTPROC_RESPONSE_TRAILERS 5u
#define EXTPROC_LOCAL_REPLY \
  6u /* on_local_reply; as a map: the immediate response's headers, and :status to read */
#define EXTPROC_PHASE_COUNT 7u
#define EXTPROC_PHASE_BIT(phase) (1u << (phase))

/* Flags of on_phase. */
#define EXTPROC_END_OF_STREAM 1u /* headers: no body follows; body: the last one, and no trailers follow */
#define EXTPROC_END_OF_BODY \
  2u /* body: no more of it comes to this plugin (trailers may follow). Since 1.1. Comes once, by itself and with no
        bytes where only the trailers tell; never where the data plane keeps them to itself */
#define EXTPROC_PARTIAL_BODY \
  4u /* body: what follows of it passes unseen (BUFFERED_PARTIAL), if anything does. Since 1.1 */
#define EXTPROC_COMPRESSED_MESSAGE 8u /* body, GRPC mode: the gRPC message is compressed. Since 1.1 */

/* What a callback returns. */
typedef uint32_t extproc_action;
#define EXTPROC_CONTINUE 0u /* with the edits made so far */
#define EXTPROC_REPLY 1u    /* send the immediate response given to reply(); the chain stops here */
#define EXTPROC_FAIL 2u     /* fail() said why; the plugin's failure policy decides */
#define EXTPROC_FINISH 3u   /* continue, and call this plugin no more on this stream but for stream_end */
/* Since 1.1. In a body phase, for EXTPROC_ACCESS_STREAM only and not with EXTPROC_END_OF_BODY: what was neither
 * forwarded nor dropped is kept and stands before the next piece. In a headers phase: the headers stay where they
 * are until this plugin returns anything else from a body phase of that direction, or the body ends, so that
 * their changes may depend on the body; the host does as with EXTPROC_CONTINUE where no body follows or the data
 * plane sends none before it is answered (an upgrade, STREAMED). */
#define EXTPROC_HOLD 4u
/* Since 1.2. The answer comes later: extproc.async/1 gave a handle, by which on_resumed is called. */
#define EXTPROC_SUSPEND 5u

/* Body modes of the data plane, as in ProcessingMode.BodySendMode. */
#define EXTPROC_BODY_NONE 0u
#define EXTPROC_BODY_STREAMED 1u
#define EXTPROC_BODY_BUFFERED 2u
#define EXTPROC_BODY_BUFFERED_PARTIAL 3u
#define EXTPROC_BODY_FULL_DUPLEX_STREAMED 4u
#define EXTPROC_BODY_GRPC 5u
#define EXTPROC_BODY_UNKNOWN 255u /* the data plane did not say (Envoy before 1.34, observability mode) */

/* What a plugin does with a body, per direction. */
#define EXTPROC_ACCESS_NONE 0u
#define EXTPROC_ACCESS_OBSERVE 1u /* read each piece as it comes */
/* Since 1.1; changes are made with extproc.body/1. */
#define EXTPROC_ACCESS_EDIT_CHUNK 2u /* change or clear each piece, one for one */
#define EXTPROC_ACCESS_WHOLE 3u      /* one call with the complete body, up to the plugin's max_body_bytes */
#define EXTPROC_ACCESS_STREAM 4u     /* hold back, let go, cut anew, add at the end */

#define EXTPROC_LOG_TRACE 0u
#define EXTPROC_LOG_DEBUG 1u
#define EXTPROC_LOG_INFO 2u
#define EXTPROC_LOG_WARN 3u
#define EXTPROC_LOG_ERROR 4u

/* Why a stream ended. */
#define EXTPROC_END_COMPLETED 0u /* the data plane closed it, or nothing more was to come */
#define EXTPROC_END_CANCELLED \
  1u                            /* reset by the data plane: Envoy does so with most streams, it is no error */
#define EXTPROC_END_REPLIED 2u  /* an immediate response was sent */
#define EXTPROC_END_FAILED 3u   /* a plugin failed and its policy ended the stream */
#define EXTPROC_END_PROTOCOL 4u /* the data plane broke the protocol */
#define EXTPROC_END_SHUTDOWN 5u /* the server's drain deadline passed */

typedef struct extproc_host extproc_host;
typedef struct extproc_call extproc_call; /* host: one callback in flight; dead when the callback returns */

/* ---- Facts and replies
 * --------------------------------------------------------------------------------------- */

/* What is known of a stream when a plugin first meets it. Valid until stream_end returns. */
typedef struct extproc_stream_facts {
  uint32_t struct_size;
  uint32_t observability;         /* 1: replies and mutations act only inside the chain */
  uint64_t id;                    /* unique in this process; also in the log lines of the stream */
  extproc_str peer;               /* address of the data plane, as gRPC writes it */
  extproc_str chain;              /* name of the chain that runs */
  uint32_t request_body_mode;     /* EXTPROC_BODY_* */
  uint32_t response_body_mode;    /* EXTPROC_BODY_* */
  const extproc_header* metadata; /* gRPC initial metadata of the Process call, names in lower case */
  size_t metadata_count;
} extproc_stream_facts;

/* An immediate response: a local reply of the data plane that ends processing. */
typedef struct extproc_reply {
  uint32_t struct_size;
  uint32_t status;               /* HTTP status, 200 to 599 */
  const extproc_header* headers; /* set on the reply; a name that comes twice is appended */
  size_t headers_count;
  extproc_str body;
  extproc_str details; /* for the data plane's access log (%RESPONSE_CODE_DETAILS%); may be empty */
  int32_t grpc_status; /* for gRPC requests, 0 to 16; -1 for none */
  uint32_t reserved;
} extproc_reply;

/* How a stream ended. */
typedef struct extproc_stream_end {
  uint32_t struct_size;
  uint32_t reason;      /* EXTPROC_END_* */
  uint32_t grpc_status; /* the gRPC status that the stream ended with; CANCELLED is 1 */
  uint32_t
      response_status;  /* HTTP status of the response (of the local reply, if one was sent); 0 if unknown */
  uint64_t duration_ns; /* from the first message to the end of the stream */
  uint64_t plugin_duration_ns; /* spent inside this plugin's callbacks */
} extproc_stream_end;

/* ---- The host's core table
 * ----------------------------------------------------------------------------------- */

/* Given to create. It outlives the instance. */
struct extproc_host {
  uint32_t struct_size;
  uint16_t abi_major;
  uint16_t abi_minor;
  extproc_str version;     /* of the host, for messages */
  extproc_str plugin_name; /* the configured name of this plugin */

  /* [any-thread] The table of an extension ("area/revision", ended by NUL), or null if this host has none. */
  const void* (*get_extension)(const extproc_host* host, const char* name);

  /* [any-thread] Is a message of this level written at all? Ask before formatting. */
  uint32_t (*log_enabled)(const extproc_host* host, uint32_t level);
  /* [any-thread] Writes one line to the server's log under the plugin's name. */
  void (*log)(const extproc_host* host, uint32_t level, extproc_str text);

  /* [load] Says why create fails; may be called several times, all texts are shown. create then counts as
   * failed, whatever it returns. */
  void (*create_error)(const extproc_host* host, extproc_str text);

  /* [stream] Why the last host call of this callback was refused; empty if it was not, or only found nothing.
   * Valid until the next host call. */
  extproc_str (*last_error)(extproc_call* call);

  /* [stream] The facts of the stream, as stream_begin got them. */
  const extproc_stream_facts* (*facts)(extproc_call* call);

  /* [stream] All entries of a header map, in order. Valid until the next edit of that map or the end of the
   * callback. EXTPROC_NOT_FOUND: that map has not come on this stream. */
  extproc_status (*headers)(extproc_call* call, uint32_t map, const extproc_header** entries, size_t* count);
  /* [stream] The first value of a header; names are matched without regard to ASCII case. */
  extproc_status (*header_get)(extproc_call* call, uint32_t map, extproc_str name, extproc_str* value);
  /* [stream] Replaces all values of a name with this one, or adds it. Only the map of the current phase; in a
   * body phase also the headers of that direction, while the data plane still has them (BUFFERED,
   * BUFFERED_PARTIAL, or after EXTPROC_HOLD). */
  extproc_status (*header_set)(extproc_call* call, uint32_t map, extproc_str name, extproc_str value);
  /* [stream] Adds one more value. Not for pseudo-headers. Otherwise as header_set. */
  extproc_status (*header_add)(extproc_call* call, uint32_t map, extproc_str name, extproc_str value);
  /* [stream] Removes all values. EXTPROC_OK also where there was none: the data plane may have withheld it.
   */
  extproc_status (*header_remove)(extproc_call* call, uint32_t map, extproc_str name);

  /* [stream] The body of the current body phase, as slices: what the plugin held back, then the new piece; with
   * EXTPROC_ACCESS_WHOLE all of it. Changes made meanwhile do not show. In GRPC mode a slice is a gRPC message.
   * Valid until the end of the callback. */
  extproc_status (*body)(extproc_call* call, const extproc_str** slices, size_t* count);
  /* [stream] In a headers phase: sends this body instead of the original one (CONTINUE_AND_REPLACE). Nothing
   * more of this direction comes to any plugin. EXTPROC_UNSUPPORTED where the data plane cannot: gRPC body
   * mode. */
  extproc_status (*replace_body)(extproc_call* call, extproc_str body);

  /* [stream] Prepares the immediate response that EXTPROC_REPLY sends. EXTPROC_TOO_LATE once response headers
   * are on their way to the client. */
  extproc_status (*reply)(extproc_call* call, const extproc_reply* reply);
  /* [stream] Prepares the error that EXTPROC_FAIL returns: a gRPC status code (1 to 16; else UNKNOWN) and a
   * text for the operator, cut at 1 KiB. */
  void (*fail)(extproc_call* call, uint32_t grpc_status, extproc_str text);
  /* [stream] Asks the data plane to choose the route anew. In the request headers phase, and in the request body
   * phase while the headers can be changed; it acts only together with a header change in the same reply (Envoy
   * ignores it otherwise). */
  extproc_status (*clear_route_cache)(extproc_call* call);
};

/* ---- Extensions
 * ------------------------------------------------------------------------------------------------ */

/* Typed configuration: [plugin.config] of the file. Nodes live until create returns. Keys that create never
 * asked for are reported as unknown, with their place in the file. */
#define EXTPROC_CONFIG_1 "extproc.config/1"
typedef struct extproc_config_node extproc_config_node;
#define EXTPROC_CONFIG_BOOL 0u
#define EXTPROC_CONFIG_INTEGER 1u
#define EXTPROC_CONFIG_FLOAT 2u
#define EXTPROC_CONFIG_STRING 3u /* dates and times come as strings too */
#define EXTPROC_CONFIG_ARRAY 4u
#define EXTPROC_CONFIG_TABLE 5u
typedef struct extproc_config_api {
  uint32_t struct_size;
  uint32_t reserved;
  /* [load] The table; never null (empty where the file has none). */
  const extproc_config_node* (*root)(const extproc_host* host);
  /* [load] The node under a key, and the key counts as read; null if there is none. */
  const extproc_config_node* (*find)(const extproc_config_node* table, extproc_str key);
  /* [load] EXTPROC_CONFIG_*. */
  uint32_t (*type)(const extproc_config_node* node);
  /* [load] Entries of an array or a table; 0 for others. */
  size_t (*size)(const extproc_config_node* node);
  /* [load] An entry of an array or table, which counts as read; null past the end. `key` may be null. */
  const extproc_config_node* (*at)(const extproc_config_node* node, size_t index, extproc_str* key);
  /* [load] EXTPROC_INVALID where the node is of another type; an integer is accepted as a float. */
  extproc_status (*get_bool)(const extproc_config_node* node, uint32_t* value);
  extproc_status (*get_integer)(const extproc_config_node* node, int64_t* value);
  extproc_status (*get_float)(const extproc_config_node* node, double* value);
  extproc_status (*get_string)(const extproc_config_node* node, extproc_str* value);
  /* [load] Reports an error at a node: the text is shown with file, line and column, and create counts as
   * failed. */
  void (*error)(const extproc_host* host, const extproc_config_node* node, extproc_str text);
  /* [load] The whole table as JSON; counts every key as read. */
  extproc_str (*json)(const extproc_host* host);
} extproc_config_api;

/* Metrics, made in create and exported as extproc_plugin_<id>_<name> with the label plugin="<configured
 * name>". */
#define EXTPROC_METRICS_1 "extproc.metrics/1"
typedef struct extproc_metric extproc_metric; /* lives as long as the instance */
typedef struct extproc_metrics_api {
  uint32_t struct_size;
  uint32_t reserved;
  /* [load] A metric, or null: bad name, or the name taken by another kind (create_error was told). The same
   * name and labels give the same metric. Labels are fixed pairs; `bounds` are upper bounds in rising order,
   * in base units. */
  extproc_metric* (*counter)(const extproc_host* host, extproc_str name, extproc_str help,
                             const extproc_header* labels, size_t label_count);
  extproc_metric* (*gauge)(const extproc_host* host, extproc_str name, extproc_str help,
                           const extproc_header* labels, size_t label_count);
  extproc_metric* (*histogram)(const extproc_host* host, extproc_str name, extproc_str help,
                               const extproc_header* labels, size_t label_count, const double* bounds,
                               size_t bound_count);
  /* [any-thread] Counter (not negative) and gauge. */
  void (*add)(extproc_metric* metric, double amount);
  /* [any-thread] Gauge. */
  void (*set)(extproc_metric* metric, double value);
  /* [any-thread] Histogram. */
  void (*observe)(extproc_metric* metric, double value);
} extproc_metrics_api;

/* Attributes and metadata of the data plane, and dynamic metadata back to it. */
#define EXTPROC_METADATA_1 "extproc.metadata/1"
typedef struct extproc_metadata_api {
  uint32_t struct_size;
  uint32_t reserved;
  /* [stream] An attribute that the data plane was configured to send ("request.path", "xds.route_name"), as
   * text: true/false, numbers in their shortest form, lists and structs as JSON. Valid until the end of the
   * callback. */
  extproc_status (*attribute)(extproc_call* call, extproc_str name, extproc_str* value);
  /* [stream] One key of a namespace of the request's dynamic metadata, as text. Valid until the end of the
   * callback. */
  extproc_status (*metadata)(extproc_call* call, extproc_str name_space, extproc_str key, extproc_str* value);
  /* [stream] Sets dynamic metadata, sent with the reply of this phase; a later plugin wins per key. The data
   * plane drops namespaces that it was not told to receive. Text must be UTF-8. */
  extproc_status (*set_string)(extproc_call* call, extproc_str name_space, extproc_str key,
                               extproc_str value);
  extproc_status (*set_number)(extproc_call* call, extproc_str name_space, extproc_str key, double value);
  extproc_status (*set_bool)(extproc_call* call, extproc_str name_space, extproc_str key, uint32_t value);
} extproc_metadata_api;

/* Attributes and metadata as typed values, and any value as dynamic metadata, typed too. Beside revision 1, not in
 * its place; what either sets goes together. A value belongs to the host and is read-only. With all that it holds,
 * and the text and bytes that are got from it, it is valid until the end of the callback in which it was asked for. */
#define EXTPROC_METADATA_2 "extproc.metadata/2"
typedef struct extproc_value extproc_value;
#define EXTPROC_VALUE_NULL 0u
#define EXTPROC_VALUE_BOOL 1u
#define EXTPROC_VALUE_NUMBER 2u
#define EXTPROC_VALUE_STRING 3u
#define EXTPROC_VALUE_LIST 4u
#define EXTPROC_VALUE_STRUCT 5u
typedef struct extproc_metadata_api_2 {
  uint32_t struct_size;
  uint32_t reserved;
  /* [stream] An attribute that the data plane was configured to send. */
  extproc_status (*attribute)(extproc_call* call, extproc_str name, const extproc_value** value);
  /* [stream] One key of a namespace of the request's dynamic metadata, exactly as it is written; with an empty
   * key the whole namespace, which is a struct. */
  extproc_status (*metadata)(extproc_call* call, extproc_str name_space, extproc_str key,
                             const extproc_value** value);
  /* [stream] A namespace of the request's typed dynamic metadata: a protobuf message, encoded, and the URL that
   * names its type ("type.googleapis.com/google.protobuf.Duration"). Valid until the end of the callback. */
  extproc_status (*typed_metadata)(extproc_call* call, extproc_str name_space, extproc_str* type_url,
                                   extproc_str* message);

  /* [stream] EXTPROC_VALUE_*. Here, and for the functions down to find, a null pointer is a null value: what at
   * and find return can be passed on unseen. */
  uint32_t (*type)(const extproc_value* value);
  /* [stream] EXTPROC_INVALID where the value is of another type. */
  extproc_status (*get_bool)(const extproc_value* value, uint32_t* out);
  extproc_status (*get_number)(const extproc_value* value, double* out);
  extproc_status (*get_string)(const extproc_value* value, extproc_str* out);
  /* [stream] Entries of a list or a struct; 0 for others. */
  size_t (*size)(const extproc_value* value);
  /* [stream] An entry of a list or a struct, whose entries are in the order of their keys; null past the end.
   * `key`, which may be null, is empty for a list's. */
  const extproc_value* (*at)(const extproc_value* value, size_t index, extproc_str* key);
  /* [stream] The value under a key of a struct; null if there is none. */
  const extproc_value* (*find)(const extproc_value* value, extproc_str key);

  /* [stream] These change the dynamic metadata that is sent with the reply of this phase. A later plugin wins
   * per key; the data plane drops namespaces that it was not told to receive. EXTPROC_INVALID: an empty name,
   * or bytes that are not UTF-8. EXTPROC_LIMIT: over 64 KiB of names and encoded values in one phase, those of
   * revision 1 included. EXTPROC_TOO_LATE: outside on_phase. */

  /* [stream] Any value, as JSON (RFC 8259). EXTPROC_INVALID also: no JSON, a key that comes twice in an object,
   * a number too large for a double; last_error() says at which byte, counted from 0. EXTPROC_LIMIT also:
   * nested deeper than 30, which the data plane could not parse, or over 64 KiB of text. */
  extproc_status (*set_json)(extproc_call* call, extproc_str name_space, extproc_str key, extproc_str json);
  /* [stream] Typed dynamic metadata: an encoded protobuf message, one a namespace. EXTPROC_INVALID also: a type
   * URL without a '/' and a name behind it. */
  extproc_status (*set_typed)(extproc_call* call, extproc_str name_space, extproc_str type_url,
                              extproc_str message);
  /* [stream] Takes back what was set under a key since the last reply, by whichever plugin; with an empty key
   * all of the namespace, typed too. EXTPROC_NOT_FOUND if there was nothing. */
  extproc_status (*remove)(extproc_call* call, extproc_str name_space, extproc_str key);
} extproc_metadata_api_2;

/* A store of bytes per stream, shared by its plugins. It lives as long as the stream; a failed callback's
 * writes stay. */
#define EXTPROC_STORE_1 "extproc.store/1"
typedef struct extproc_store_api {
  uint32_t struct_size;
  uint32_t reserved;
  /* [stream] Valid until that key is written or the callback ends. */
  extproc_status (*get)(extproc_call* call, extproc_str key, extproc_str* value);
  /* [stream] EXTPROC_LIMIT: over 64 KiB of keys and values in one stream. */
  extproc_status (*set)(extproc_call* call, extproc_str key, extproc_str value);
  /* [stream] */
  extproc_status (*remove)(extproc_call* call, extproc_str key);
} extproc_store_api;

/* Since 1.1. Changes of the body in a body phase, by plugins whose access to that body is more than observing. The
 * body that goes on is what the calls below make of it, in their order, and behind that whatever was neither
 * forwarded nor dropped, unless it is held (EXTPROC_HOLD). What a later plugin sees is this. */
#define EXTPROC_BODY_1 "extproc.body/1"
typedef struct extproc_body_api {
  uint32_t struct_size;
  uint32_t reserved;
  /* [stream] Adds bytes of the plugin's own; in GRPC mode one gRPC message, not compressed. EXTPROC_LIMIT: more than
   * server.limits.max_message_size in one callback. */
  extproc_status (*write)(extproc_call* call, extproc_str bytes);
  /* [stream] Lets the next `size` bytes go on as they are; at most those that there are. In GRPC mode whole messages
   * only: EXTPROC_UNSUPPORTED. Not copied. */
  extproc_status (*forward)(extproc_call* call, size_t size);
  /* [stream] Takes the next `size` bytes out; at most those that there are (SIZE_MAX: all). In GRPC mode whole
   * messages only. */
  extproc_status (*drop)(extproc_call* call, size_t size);
} extproc_body_api;

/* Since 1.1. What else a plugin may ask of host and data plane. */
#define EXTPROC_CONTROL_1 "extproc.control/1"
typedef struct extproc_control_api {
  uint32_t struct_size;
  uint32_t reserved;
  /* [stream] The plugin does not want these phases (EXTPROC_PHASE_BIT, several) of this stream any more; also in
   * stream_begin. When no plugin wants what is left, the host ends the stream, or asks the data plane to send less,
   * where that loses nothing. What the plugin held of a body goes on. */
  extproc_status (*skip)(extproc_call* call, uint32_t phases);
  /* [stream] Asks the data plane for more time to answer the message at hand, in milliseconds from now, at least 1.
   * Once a message. EXTPROC_UNSUPPORTED: the operator did not say (data_plane.max_message_timeout) that the data plane
   * allows so much, or it has no timer (full duplex, observability mode). */
  extproc_status (*extend_timeout)(extproc_call* call, uint64_t milliseconds);
} extproc_control_api;

/* Since 1.1. A local reply in pieces, in answer to request headers: begin() and then EXTPROC_REPLY from that callback.
 * The request's body may still come; it is shown to this plugin only, which may write more of the reply each time,
 * and goes nowhere. When the request has ended, the reply ends too. Where the data plane does not take pieces
 * (data_plane.streamed_immediate_response), the host gathers them and sends one immediate response, which must be
 * complete before the data plane has to be answered. */
#define EXTPROC_STREAMED_REPLY_1 "extproc.streamed_reply/1"
typedef struct extproc_streamed_reply_api {
  uint32_t struct_size;
  uint32_t reserved;
  /* [stream] Prepares status, headers and the first piece, as reply() does. EXTPROC_TOO_LATE: not in the request
   * headers phase. */
  extproc_status (*begin)(extproc_call* call, const extproc_reply* reply);
  /* [stream] One more piece of the body. EXTPROC_LIMIT: more than server.limits.max_held_bytes are gathered. */
  extproc_status (*write)(extproc_call* call, extproc_str bytes);
  /* [stream] Ends the reply, with trailers if there are any. EXTPROC_UNSUPPORTED: trailers where it is sent as one
   * immediate response; it ends without them. */
  extproc_status (*end)(extproc_call* call, const extproc_header* trailers, size_t count);
} extproc_streamed_reply_api;

/* Since 1.2. Waiting for something without keeping a thread of the host.
 *
 * A callback calls suspend() and returns EXTPROC_SUSPEND. The stream then stands still, in both directions, until
 * resume() with that handle, from any thread, has on_resumed called on the stream's thread. What the callback had
 * changed stays; its header maps, body and replies can be read and changed again in on_resumed. While it waits the
 * plugin gets no call for this stream but on_cancelled: when the stream ends, or the plugin's time (timeout of its
 * entry, deadline of the chain) is over, which is a failure of the plugin. */
#define EXTPROC_ASYNC_1 "extproc.async/1"
/* One suspension of one plugin; a plain number, for that plugin never used twice, 0 for none. */
typedef uint64_t extproc_resume_handle;
/* Why a suspension came to nothing. */
#define EXTPROC_CANCEL_STREAM_OVER 0u /* stream_end follows */
#define EXTPROC_CANCEL_TIMEOUT 1u     /* the plugin's failure policy decides now */
typedef struct extproc_async_api {
  uint32_t struct_size;
  uint32_t reserved;
  /* [stream] In on_phase and on_resumed, once; then return EXTPROC_SUSPEND. After any other action the handle is worth
   * nothing. EXTPROC_UNSUPPORTED: elsewhere, in EXTPROC_LOCAL_REPLY, while a reply in pieces goes on, or without an
   * on_resumed. */
  extproc_status (*suspend)(extproc_call* call, extproc_resume_handle* handle);
  /* [any-thread] Has on_resumed called with this token, also if the callback that suspended has yet to return.
   * EXTPROC_NOT_FOUND, and nothing happens: the handle was resumed before, or its suspension is over. The handle is
   * the one thing needed to resume, and may be kept, copied and used at any time. */
  extproc_status (*resume)(const extproc_host* host, extproc_resume_handle handle, uint64_t token);
  /* [stream] Resumes by itself after so many nanoseconds, unless resume() was sooner. After suspend() in the same
   * callback; once. */
  extproc_status (*resume_after)(extproc_call* call, extproc_resume_handle handle, uint64_t nanoseconds,
                                 uint64_t token);
  /* [any-thread] Is somebody waiting for this handle still? 1 or 0; by the time that it is read, it may be over. */
  uint32_t (*is_waiting)(const extproc_host* host, extproc_resume_handle handle);
} extproc_async_api;

/* Since 1.2. Work on threads of the host's own (server.workers), which may block. */
#define EXTPROC_WORK_1 "extproc.work/1"
/* [any-thread] `dropped`: 0 when it runs; 1 when it is given up without running, because the plugin is about to be
 * destroyed: then it only frees `data`. Called exactly once for work that was accepted, never after destroy began. */
typedef void (*extproc_work)(void* data, uint32_t dropped);
typedef struct extproc_work_api {
  uint32_t struct_size;
  uint32_t reserved;
  /* [any-thread] Has `work` run on one of those threads, not before so many nanoseconds from now; what create hands over,
   * when create has succeeded. EXTPROC_LIMIT: too much work waits already, for its time or for a thread; nothing was taken
   * over. EXTPROC_INVALID: no function. EXTPROC_TOO_LATE: the plugin is about to be destroyed. EXTPROC_UNSUPPORTED: there
   * are no such threads. */
  extproc_status (*run)(const extproc_host* host, uint64_t delay_ns, extproc_work work, void* data);
} extproc_work_api;

/* ---- The plugin's descriptor
 * ------------------------------------------------------------------------------------ */

/* Static storage in the module; the host never writes to it. */
typedef struct extproc_plugin {
  uint32_t struct_size;
  uint16_t abi_major; /* EXTPROC_ABI_MAJOR */
  uint16_t abi_minor; /* the lowest host that will do */

  const char* id;         /* "example.tenant-header": lower case, digits, '-', '_', parts by '.' */
  const char* version;    /* of the plugin */
  const char* build_info; /* compiler, SDK version; for messages; may be null */
  const char* const* required_extensions; /* ended by null; may be null */

  uint32_t phases; /* EXTPROC_PHASE_BIT of every phase that on_phase wants; EXTPROC_LOCAL_REPLY too */
  uint32_t request_body_access;  /* EXTPROC_ACCESS_*; must fit the phases */
  uint32_t response_body_access; /* EXTPROC_ACCESS_* */
  uint32_t
      stream_state_size; /* bytes of per-stream memory that the host provides, at most 64 KiB; 0 for none */
  uint32_t stream_state_align; /* power of two, at most 64; 0 counts as 1 */
  uint32_t reserved;

  /* [load] Makes an instance of one [[plugin]] entry. EXTPROC_OK and *instance, or anything else after
   * create_error or the config extension's error. Required. */
  extproc_status (*create)(const extproc_host* host, void** instance);
  /* [load] After the last stream_end, on a thread of its own; all threads of the plugin have ended when it
   * returns. Required. */
  void (*destroy)(void* instance);

  /* [stream] Just before the plugin's first on_phase on a stream: `state` is uninitialised memory as asked
   * for above (null if 0). Everything can be read through `call`, nothing changed. Returns
   * EXTPROC_CONTINUE or EXTPROC_FAIL; after a failure the plugin has not begun. May be null. */
  extproc_action (*stream_begin)(void* instance, void* state, extproc_call* call,
                                 const extproc_stream_facts* facts);
  /* [stream] One phase; EXTPROC_LOCAL_REPLY is asked of plugins that had begun when another one replied, in
   * reverse order; its answer may be EXTPROC_CONTINUE or EXTPROC_FAIL. Required. */
  extproc_action (*on_phase)(void* instance, void* state, extproc_call* call, uint32_t phase, uint32_t flags);
  /* [stream] Once, last, if stream_begin succeeded. Headers can still be read through `call`, no longer
   * changed. May be null. */
  void (*stream_end)(void* instance, void* state, extproc_call* call, const extproc_stream_end* end);

  /* Attributes that the plugin reads ("source.address"), ended by null, so that the host can say which ones the data
   * plane must be told to send. May be null. */
  const char* const* attributes;

  /* Since 1.1. Content types of the bodies that the plugin needs ("application/json"; "text" stands for all of its
   * kind; parameters do not matter), ended by null. Other bodies of that direction never come to it. Null: all. So the
   * host can ask the data plane for no more bodies than are needed. */
  const char* const* request_body_types;
  const char* const* response_body_types;

  /* Since 1.2. 1: callbacks may block (a database client without an asynchronous interface, a lock, a file). They then
   * run on threads of the host's own (server.workers), on a copy of what the callback may read and change, which takes
   * effect when it returns; `state` and [stream] stay what they are. 0: callbacks return within microseconds.
   * The stream stands still meanwhile, as with EXTPROC_SUSPEND, and the plugin's time runs from when the callback was
   * handed over to those threads. When it is over, or the stream is, the stream goes on at once, and nothing comes of what
   * a callback that is still inside does; on_cancelled follows only if it returns EXTPROC_SUSPEND then. stream_end comes
   * behind the last callback, however long the stream is over. One that waits for a thread still is not made. Too many
   * that wait: a failure of the plugin, RESOURCE_EXHAUSTED. EXTPROC_LOCAL_REPLY does not come, for a denial does not wait;
   * a reply in pieces ends with the callback that began it; extend_timeout takes effect when the callback returns. */
  uint32_t may_block;
  uint32_t reserved_2;
  /* [stream] Since 1.2. Goes on after EXTPROC_SUSPEND, in the phase and with the flags in which on_phase was called.
   * `token` is what resume() was given. Returns what on_phase may return, EXTPROC_SUSPEND too. May be null in a plugin
   * that never suspends. */
  extproc_action (*on_resumed)(void* instance, void* state, extproc_call* call, uint32_t phase,
                               uint32_t flags, uint64_t token);
  /* [stream] Since 1.2. A suspension came to nothing (EXTPROC_CANCEL_*): give up what was begun. Headers can be read,
   * nothing changed. Resuming is harmless from here on. May be null. */
  void (*on_cancelled)(void* instance, void* state, extproc_call* call, uint32_t phase, uint32_t reason);
} extproc_plugin;

/* The one exported symbol of a module. [load], may be called more than once. */
#define EXTPROC_ENTRY_SYMBOL "extproc_plugin_entry_v1"
const extproc_plugin* extproc_plugin_entry_v1(void);
typedef const extproc_plugin* (*extproc_entry_function)(void);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* EXTPROC_ABI_H_ */
