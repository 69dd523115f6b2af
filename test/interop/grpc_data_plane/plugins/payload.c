#include "payload.h"

#include <string.h>

enum { kRequestTag = 3 << 3 | 2, kAnswerTag = 1 << 3 | 2, kBodyTag = 2 << 3 | 2 };

static size_t read_varint(extproc_str* from) {
  size_t value = 0;
  unsigned shift = 0;
  while (from->size > 0 && shift < 63) {
    const unsigned char byte = (unsigned char)*from->data;
    from->data++;
    from->size--;
    value |= (size_t)(byte & 0x7f) << shift;
    if (byte < 0x80) break;
    shift += 7;
  }
  return value;
}

/* The field that a message consists of. */
static extproc_str only_field(extproc_str message, int tag, int other_tag) {
  const extproc_str none = {0, 0};
  const size_t found = read_varint(&message);
  if (found != (size_t)tag && found != (size_t)other_tag) return none;
  const size_t size = read_varint(&message);
  return size == message.size ? message : none;
}

extproc_str payload_of(extproc_str message) {
  return only_field(only_field(message, kRequestTag, kAnswerTag), kBodyTag, kBodyTag);
}

static size_t varint_size(size_t value) {
  size_t size = 1;
  for (; value >= 0x80; value >>= 7) size++;
  return size;
}

static char* write_field(char* to, int tag, size_t size) {
  *to++ = (char)tag;
  for (; size >= 0x80; size >>= 7) *to++ = (char)(size | 0x80);
  *to++ = (char)size;
  return to;
}

size_t write_payload(char* to, size_t room, int is_request, extproc_str content) {
  const size_t inner = 1 + varint_size(content.size) + content.size;
  const size_t size = 1 + varint_size(inner) + inner;
  if (size > room) return 0;
  to = write_field(to, is_request ? kRequestTag : kAnswerTag, inner);
  to = write_field(to, kBodyTag, content.size);
  if (content.size > 0) memcpy(to, content.data, content.size);
  return size;
}
