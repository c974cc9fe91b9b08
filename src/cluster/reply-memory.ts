/** Gives the memory of large replies back as soon as they are used up, instead of when V8 finds that nobody has it. */
import { MessageChannel } from 'node:worker_threads';
import { MongoDBResponse } from 'mongodb/lib/cmap/wire_protocol/responses.js';

/** What is smaller is left to V8. */
const LARGE_BYTES = 64 * 1024;

/** The memory of replies that can be given back. */
const large = new WeakSet<ArrayBufferLike>();

/** Memory for one reply. */
export function allocateReply(bytes: number): Buffer {
  const memory = Buffer.allocUnsafe(bytes);
  if (bytes >= LARGE_BYTES) large.add(memory.buffer);
  return memory;
}

/** What is sent to a port that nobody listens to is gone, and of memory that is handed over nothing stays behind. */
const { port1: away, port2 } = new MessageChannel();
port2.close();
away.unref();

/**
 * Gives back the memory of the reply that `part` is of, where it is a large one that was read as a whole; does nothing
 * otherwise. All views of it are empty from then on: call it when nobody has any, and when nothing that is still being
 * written lies in it.
 *
 * V8 counts such memory as its heap's and looks through all of this whenever a hundred megabytes have come, and what comes
 * next lies in fresh memory meanwhile, which the system has to clear first.
 */
export function freeReply(part: Buffer): void {
  if (!keepsNothing || !large.delete(part.buffer)) return;
  away.postMessage(undefined, [part.buffer as ArrayBuffer]);
}

/** Whether the driver has no view of a reply once its caller has it. */
const keepsNothing = copyClusterTimes(MongoDBResponse.prototype);

/**
 * Of a reply the driver keeps the cluster time alone, for the commands to come, with its signature as a view of the reply;
 * from now on as a copy. False where the driver is not as it is known.
 */
function copyClusterTimes(prototype: MongoDBResponse): boolean {
  const usual = Object.getOwnPropertyDescriptor(prototype, '$clusterTime')?.get;
  if (usual === undefined) return false;
  Object.defineProperty(prototype, '$clusterTime', {
    get(this: MongoDBResponse): MongoDBResponse['$clusterTime'] {
      const time = (usual as () => MongoDBResponse['$clusterTime']).call(this);
      const hash = time?.signature?.hash;
      if (hash !== undefined && hash.buffer.byteLength < hash.buffer.buffer.byteLength)
        hash.buffer = Buffer.from(hash.buffer);
      return time;
    },
  });
  return true;
}
