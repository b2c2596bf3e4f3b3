// The tour in Node.js, by the npm package koffi. (Set NODE_PATH to where it is installed.) All calls are synchronous: the last error belongs
// to a thread.
"use strict";
const koffi = require("koffi");

const lib = koffi.load(process.env.FARETRA_LIBRARY);
const FOREVER = -1;
const DEADLINE = 60000;

koffi.struct("faretra_options", {
  size: "size_t",
  dir: "const char *",
  limit: "uint64_t",
  capacity: "uint64_t",
  writers: "uint32_t",
  participants: "uint32_t",
  mode: "uint32_t",
  ephemeral: "uint32_t",
  untrusted: "uint32_t",
  trust_others: "uint32_t",
});
koffi.struct("faretra_error", {
  code: "int",
  os_error: "int32_t",
  asked: "uint64_t",
  found: "uint64_t",
  message: "const char *",
});
koffi.struct("faretra_value", {
  kind: "uint32_t",
  reserved: "uint32_t",
  data: "void *",
  detail: "void *",
  len: "size_t",
  shape: "void *",
  strides: "void *",
});
koffi.struct("faretra_info", {
  kind: "int",
  version: "uint64_t",
  nbytes: "uint64_t",
  rows: "uint64_t",
  published_ns: "uint64_t",
});
koffi.struct("faretra_ndarray", {
  data: "void *",
  nbytes: "size_t",
  dtype: "const char *",
  rank: "size_t",
  shape: "void *",
  strides: "void *",
});
koffi.struct("ArrowSchema", {
  format: "const char *",
  name: "const char *",
  metadata: "void *",
  flags: "int64_t",
  n_children: "int64_t",
  children: "void *",
  dictionary: "void *",
  release: "void *",
  private_data: "void *",
});
koffi.struct("ArrowArray", {
  length: "int64_t",
  null_count: "int64_t",
  offset: "int64_t",
  n_buffers: "int64_t",
  n_children: "int64_t",
  buffers: "void *",
  children: "void *",
  dictionary: "void *",
  release: "void *",
  private_data: "void *",
});
const Release = koffi.proto("void release(void *structure)");

const f = {};
for (const declaration of [
  "faretra_error *faretra_last_error()",
  "const char *faretra_code_name(int32_t code)",
  "int faretra_arena_create(const char *name, faretra_options *options, _Out_ void **arena)",
  "int faretra_arena_verify(void *arena)",
  "void faretra_arena_free(void *arena)",
  "int faretra_writer_new(void *arena, int64_t timeout_ms, _Out_ void **writer)",
  "void faretra_writer_free(void *writer)",
  "faretra_value faretra_value_bytes(const void *data, size_t len)",
  "faretra_value faretra_value_array(const char *dtype, size_t rank, const void *shape, const void *strides, const void *data)",
  "faretra_value faretra_value_batch(const void *array, const void *schema)",
  "int faretra_publish(void *writer, const char *name, faretra_value value, void *version)",
  "int faretra_get(void *arena, const char *name, _Out_ void **object)",
  "int faretra_object_info(void *object, _Out_ faretra_info *info)",
  "int faretra_object_bytes(void *object, _Out_ void **data, _Out_ size_t *len)",
  "int faretra_object_array(void *object, _Out_ faretra_ndarray *array)",
  "void faretra_object_free(void *object)",
  "int faretra_get_batch(void *arena, const char *name, void *array, void *schema)",
  "int faretra_sender_new(void *writer, const char *name, size_t capacity, uint32_t flags, _Out_ void **sender)",
  "int faretra_send(void *sender, faretra_value value, int64_t timeout_ms)",
  "int faretra_sender_close(void *sender)",
  "void faretra_sender_free(void *sender)",
  "int faretra_receiver_new(void *arena, const char *name, int64_t timeout_ms, uint32_t flags, _Out_ void **receiver)",
  "int faretra_recv(void *receiver, int64_t timeout_ms, _Out_ void **lease)",
  "void faretra_receiver_free(void *receiver)",
  "void *faretra_lease_object(void *lease)",
  "uint64_t faretra_lease_attempts(void *lease)",
  "void faretra_lease_ack(void *lease)",
  "void faretra_lease_nack(void *lease)",
]) {
  const name = declaration.match(/faretra_\w+(?=\()/)[0];
  f[name.slice("faretra_".length)] = lib.func(declaration);
}

function check(code) {
  if (code !== 0) throw new Error(koffi.decode(f.last_error(), "faretra_error").message);
}

// The handle that a function gives out through its last parameter.
function made(call, ...args) {
  const place = [null];
  check(call(...args, place));
  return place[0];
}

function text(object) {
  const data = [null];
  const len = [0];
  check(f.object_bytes(object, data, len));
  return Buffer.from(koffi.decode(data[0], "uint8_t", Number(len[0]))).toString();
}

const size = koffi.sizeof("faretra_options");
const options = { size, dir: null, limit: 64 << 20, capacity: 256 << 20, writers: 0, participants: 0, mode: 0, ephemeral: 1 };
const arena = made(f.arena_create, "tour", { ...options, untrusted: 0, trust_others: 0 });
console.log("arena tour");

const writer = made(f.writer_new, arena, DEADLINE);
const hello = Buffer.from("hello");
check(f.publish(writer, "greeting", f.value_bytes(hello, hello.length), null));
const greeting = made(f.get, arena, "greeting");
const info = {};
check(f.object_info(greeting, info));
console.log("greeting", text(greeting), "version", Number(info.version));
f.object_free(greeting);

const numbers = Float64Array.from([0, 1, 2, 3, 4, 5]);
const shape = BigInt64Array.from([2n, 3n]);
// What a value points to is looked at when it is published: it has to be memory that stays.
check(f.publish(writer, "array", f.value_array(staying("<f8\0"), 2, staying(shape), null, staying(numbers)), null));
const matrix = made(f.get, arena, "array");
const array = {};
check(f.object_array(matrix, array));
const lengths = koffi.decode(array.shape, "int64_t", Number(array.rank)).join("x");
const sum = koffi.decode(array.data, "double", Number(array.nbytes) / 8).reduce((a, b) => a + b);
console.log("array", array.dtype, lengths, "sum", sum);
f.object_free(matrix);

console.log("nothing", f.code_name(f.get(arena, "nothing", [null])));

const sender = made(f.sender_new, writer, "jobs", 4, 0);
const receiver = made(f.receiver_new, arena, "jobs", 0, 0);
for (let i = 0; i < 3; i++) {
  const job = Buffer.from(`job ${i}`);
  check(f.send(sender, f.value_bytes(job, job.length), FOREVER));
}
f.lease_nack(made(f.recv, receiver, DEADLINE));
for (let i = 0; i < 3; i++) {
  const lease = made(f.recv, receiver, DEADLINE);
  console.log(text(f.lease_object(lease)), "again", Number(f.lease_attempts(lease)));
  f.lease_ack(lease);
}
check(f.sender_close(sender));
console.log("jobs", f.code_name(f.recv(receiver, FOREVER, [null])));
f.receiver_free(receiver);
f.sender_free(sender);

// Memory of C's with these contents, which stays for as long as the program.
function staying(contents) {
  const bytes = typeof contents === "string" ? Buffer.from(contents) : new Uint8Array(contents.buffer);
  const memory = koffi.alloc("uint8_t", bytes.length);
  koffi.encode(memory, "uint8_t", [...bytes], bytes.length);
  return memory;
}

function structure(type, fields) {
  const memory = koffi.alloc(type, 1);
  koffi.encode(memory, type, { dictionary: null, private_data: null, ...fields });
  return memory;
}

function pointers(...addresses) {
  const memory = koffi.alloc("void *", addresses.length);
  koffi.encode(memory, "void *", addresses, addresses.length);
  return memory;
}

// The library releases nothing of what goes in: only a sign that it was not released yet is needed.
const release = koffi.register(() => {}, koffi.pointer(Release));
const ids = staying(BigInt64Array.from({ length: 1000 }, (_, i) => BigInt(i)));
const anArray = { length: 1000, null_count: 0, offset: 0, n_children: 0, children: null, release };
const column = structure("ArrowArray", { ...anArray, n_buffers: 2, buffers: pointers(null, ids) });
const columns = { n_children: 1, children: pointers(column) };
const batch = structure("ArrowArray", { ...anArray, ...columns, n_buffers: 1, buffers: pointers(null) });
const aSchema = { name: "", metadata: null, flags: 0, n_children: 0, children: null, release };
const field = structure("ArrowSchema", { ...aSchema, format: "l", name: "id" });
const schema = structure("ArrowSchema", { ...aSchema, format: "+s", n_children: 1, children: pointers(field) });
check(f.publish(writer, "ids", f.value_batch(batch, schema), null));

const got = koffi.alloc("ArrowArray", 1);
const gotSchema = koffi.alloc("ArrowSchema", 1);
check(f.get_batch(arena, "ids", got, gotSchema));
const read = koffi.decode(got, "ArrowArray");
const first = koffi.decode(koffi.decode(read.children, "void *"), "ArrowArray");
const values = koffi.decode(koffi.decode(first.buffers, "void *", 2)[1], "int64_t", Number(read.length));
console.log("ids", Number(read.length), "rows sum", values.reduce((a, b) => a + Number(b), 0));
koffi.call(read.release, Release, got);
koffi.call(koffi.decode(gotSchema, "ArrowSchema").release, Release, gotSchema);

check(f.arena_verify(arena));
console.log("sound");
f.writer_free(writer);
f.arena_free(arena);
