/** Declares what is used of the driver's internal modules; see whole-replies.ts and reply-memory.ts. */

declare module 'mongodb/lib/cmap/connect.js' {
  /** Names of the client's options that are handed on to its sockets. */
  export const LEGAL_TCP_SOCKET_OPTIONS: string[];
}

declare module 'mongodb/lib/utils.js' {
  /** The pieces that a connection has read and that are not taken yet. */
  export class BufferPool {
    readonly buffers: { first(): Uint8Array | null; shift(): Uint8Array | null };
    totalByteLength: number;
    append(buffer: Uint8Array): void;
    read(size: number): Uint8Array;
  }
}

declare module 'mongodb/lib/cmap/wire_protocol/responses.js' {
  import type { Binary, Timestamp } from 'mongodb';

  /** A reply; what is asked for by name is decoded once and kept. */
  export class MongoDBResponse {
    get $clusterTime(): { readonly clusterTime: Timestamp; readonly signature?: { readonly hash?: Binary } } | null;
  }
}
