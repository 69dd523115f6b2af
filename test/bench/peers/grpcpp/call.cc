#include "test/bench/peers/grpcpp/call.h"

#include <array>

namespace extprocd::bench {
namespace {

std::string_view view(const grpc::Slice& slice) {
  return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
}

grpc::Slice copied(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

/// Bytes of a slice as a slice that keeps it.
grpc::Slice shared(std::string_view bytes, const grpc::Slice& owner) {
  if (bytes.empty()) return {};
  const auto at = static_cast<std::size_t>(bytes.data() - view(owner).data());
  return owner.sub(at, at + bytes.size());
}

}  // namespace

void Lane::serve() {
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) {
    const auto* step = static_cast<Call::Step*>(tag);
    (step->call->*step->run)(ok);
  }
}

void Call::await(Lane& lane) {
  auto* call = new Call(lane);
  lane.process.RequestProcess(&call->context_, &call->io_, lane.queue.get(), lane.queue.get(),
                              &call->started_);
}

void Call::on_started(bool ok) {
  if (!ok) {  // the server stops
    delete this;
    return;
  }
  await(lane_);
  read();
}

void Call::read() { io_.Read(&incoming_, &read_); }

void Call::on_read(bool ok) {
  // False at the client's end, and when the call is lost; then the end that is sent goes nowhere.
  if (!ok) return end_with(grpc::Status::OK);
  answer();
}

void Call::answer() {
  // Most messages lie in one slice as they came; then nothing is copied.
  if (!incoming_.TrySingleSlice(&message_).ok() && !incoming_.DumpToSingleSlice(&message_).ok()) {
    return end_with({grpc::StatusCode::INTERNAL, "a message could not be read"});
  }
  const std::string_view bytes = view(message_);
  if (const absl::Status parsed = lane_.request.parse(bytes); !parsed.ok()) {
    return end_with({grpc::StatusCode::INVALID_ARGUMENT, std::string(parsed.message())});
  }
  if (lane_.request.protocol_config()) modes_ = *lane_.request.protocol_config();
  lane_.answers.answer(lane_.request, modes_, *this);
  message_ = {};
  incoming_.Clear();
  // A client that sends on without reading is held back: no more is read while answers wait.
  if (!waiting_.empty()) {
    paused_ = true;
  } else {
    read();
  }
}

void Call::send_reply(const wire::Pieces& message) {
  const auto& [head, body, tail] = message.list();
  const std::array slices = {copied(head), shared(body, message_), copied(tail)};
  grpc::ByteBuffer reply(slices.data(), body.empty() ? 1 : slices.size());
  if (writing_) {
    waiting_.push_back(std::move(reply));
  } else {
    write(std::move(reply));
  }
}

void Call::write(grpc::ByteBuffer reply) {
  writing_ = true;
  io_.Write(reply, &written_);
}

void Call::on_written(bool ok) {
  writing_ = false;
  if (!ok) waiting_.clear();  // the client is gone, which the next read says too
  if (!waiting_.empty()) {
    write(std::move(waiting_.front()));
    waiting_.pop_front();
    return;
  }
  if (status_) return finish();
  if (std::exchange(paused_, false)) read();
}

void Call::end_with(grpc::Status status) {
  status_ = std::move(status);
  if (!writing_) finish();
}

void Call::finish() { io_.Finish(*status_, &finished_); }

void Call::on_finished(bool) { delete this; }

}  // namespace extprocd::bench
