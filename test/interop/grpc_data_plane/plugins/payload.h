/* The content of grpc.testing's messages that have a payload: Payload{body = 2} in field 3 of requests and field 1 of
 * answers. */
#ifndef TEST_PAYLOAD_H_
#define TEST_PAYLOAD_H_

#include <extproc/abi.h>

/* The content of a message that has no other field than its payload; empty if it is empty or anything else. */
extproc_str payload_of(extproc_str message);

/* Writes a message with this content in `room` bytes; its size, or 0 if it does not fit. */
size_t write_payload(char* to, size_t room, int is_request, extproc_str content);

#endif
