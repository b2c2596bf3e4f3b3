// The same library from C++: handles in smart pointers, threads at the two ends of a channel, and batches that outlive all else.
#include "common.h"
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

// Frees each kind of handle by its own function.
struct Free {
  void operator()(faretra_arena *handle) const { faretra_arena_free(handle); }
  void operator()(faretra_writer *handle) const { faretra_writer_free(handle); }
  void operator()(faretra_sender *handle) const { faretra_sender_free(handle); }
  void operator()(faretra_receiver *handle) const { faretra_receiver_free(handle); }
  void operator()(faretra_lease *handle) const { faretra_lease_nack(handle); }
  void operator()(faretra_object *handle) const { faretra_object_free(handle); }
};

template <typename T> using Handle = std::unique_ptr<T, Free>;

struct Error : std::runtime_error {
  faretra_code code;
  explicit Error(faretra_code code) : std::runtime_error(faretra_last_error()->message), code(code) {}
};

void check(faretra_code code) {
  if (code != FARETRA_OK) throw Error(code);
}

// A call whose last argument is where the handle goes.
template <typename T, typename Function, typename... Arguments>
Handle<T> make(Function function, Arguments... arguments) {
  T *handle = nullptr;
  check(function(arguments..., &handle));
  return Handle<T>(handle);
}

// A batch that releases itself.
struct Batch {
  ArrowArray array{};
  ArrowSchema schema{};
  Batch() = default;
  Batch(Batch &&other) noexcept : array(other.array), schema(other.schema) {
    other.array.release = nullptr;
    other.schema.release = nullptr;
  }
  Batch(const Batch &) = delete;
  Batch &operator=(const Batch &) = delete;
  ~Batch() {
    if (array.release) array.release(&array);
    if (schema.release) schema.release(&schema);
  }
};

constexpr int64_t BATCHES = 20, ROWS = 5000;

} // namespace

int main(int argc, char **argv) try {
  const std::string name = argc > 1 ? argv[1] : "tour-cpp";
  const faretra_options options = small_arena();
  std::vector<Batch> kept;
  int64_t sum = 0;
  {
    auto arena = make<faretra_arena>(faretra_arena_create, name.c_str(), &options);
    auto writer = make<faretra_writer>(faretra_writer_new, arena.get(), int64_t{SOON});
    auto sender = make<faretra_sender>(faretra_sender_new, writer.get(), "numbers", size_t{3}, uint32_t{0});
    auto receiver = make<faretra_receiver>(faretra_receiver_new, arena.get(), "numbers", int64_t{0}, uint32_t{FARETRA_STAY});

    std::thread producer([&sender] {
      for (int64_t i = 0; i < BATCHES; i++) {
        Batch batch;
        numbers(i * ROWS, ROWS, &batch.array);
        numbers_schema(&batch.schema);
        TRY(faretra_send(sender.get(), faretra_value_batch(&batch.array, &batch.schema), SOON));
      }
      TRY(faretra_sender_close(sender.get()));
    });
    for (;;) {
      faretra_lease *raw = nullptr;
      const faretra_code code = faretra_recv(receiver.get(), SOON, &raw);
      if (code == FARETRA_CLOSED) break;
      check(code);
      Handle<faretra_lease> lease(raw);
      Batch batch;
      check(faretra_object_batch(faretra_lease_object(lease.get()), &batch.array, &batch.schema));
      sum += sum_of(&batch.array);
      kept.push_back(std::move(batch));
      faretra_lease_ack(lease.release());
    }
    producer.join();

    // A lease that an exception ends is given back.
    try {
      make<faretra_object>(faretra_get, arena.get(), "nothing");
      return 1;
    } catch (const Error &error) {
      HOLDS(error.code == FARETRA_NOT_FOUND && std::string(error.what()).find("`nothing`") != std::string::npos);
    }
  }
  // All handles are gone; what was received is still there, released by another thread.
  int64_t again = 0;
  for (const Batch &batch : kept) again += sum_of(&batch.array);
  HOLDS(kept.size() == BATCHES && sum == again && sum == BATCHES * ROWS * (BATCHES * ROWS - 1) / 2);
  std::thread([&kept] { kept.clear(); }).join();
  HOLDS(released == 2 * BATCHES);
  std::puts("the tour is over");
  return 0;
} catch (const std::exception &error) {
  std::fprintf(stderr, "tour.cpp: %s\n", error.what());
  return 1;
}
