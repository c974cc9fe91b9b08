/** The largest request that either front door takes, in bytes. */
export const MAX_REQUEST_BYTES = 16 * 1024 * 1024;

/** How long a TLS handshake may take at either front door. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;
