/** Declares the one internal module of the pinned driver that driver-messages.ts uses; see there. */

declare module 'mongodb/lib/cmap/commands.js' {
  export const DocumentSequence: unknown;
  export const OpMsgRequest: unknown;
}
