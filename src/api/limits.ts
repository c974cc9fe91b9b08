/** The largest request that either front door takes, in bytes. */
export const MAX_REQUEST_BYTES = 16 * 1024 * 1024;
