/** Declares what driver-messages.ts uses of the pinned driver's internal modules; see there. */

declare module 'mongodb/lib/cmap/commands.js' {
  export const DocumentSequence: unknown;
  export const OpMsgRequest: unknown;
}

declare module 'mongodb/lib/cmap/connection.js' {
  export const Connection: unknown;
}
