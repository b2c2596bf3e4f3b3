/* Takes all that a process can be granted, says so, and does nothing until somebody kills it: holder ARENA. */
#include "common.h"
#include <unistd.h>

int main(int argc, char **argv) {
  faretra_arena *arena;
  faretra_writer *writer;
  faretra_object *object;
  faretra_receiver *receiver;
  faretra_lease *lease;
  faretra_mutex *mutex;
  faretra_semaphore *permits;
  faretra_draft *draft;
  struct ArrowArray array;
  void *data;

  HOLDS(argc == 2);
  TRY(faretra_arena_open(argv[1], NULL, &arena));
  TRY(faretra_get(arena, "pinned", &object));
  TRY(faretra_object_batch(object, &array, NULL));
  TRY(faretra_receiver_new(arena, "jobs", 0, 0, &receiver));
  TRY(faretra_recv(receiver, SOON, &lease));
  TRY(faretra_mutex_new(arena, "lock", &mutex));
  TRY(faretra_mutex_lock(mutex, SOON, NULL));
  TRY(faretra_semaphore_new(arena, "permits", 1, &permits));
  TRY(faretra_semaphore_acquire(permits, SOON, NULL));
  TRY(faretra_writer_new(arena, SOON, &writer));
  TRY(faretra_draft_bytes(writer, 1 << 20, &draft, &data));
  memset(data, 1, 1 << 20);
  puts("held");
  fflush(stdout);
  for (;;) pause();
}
