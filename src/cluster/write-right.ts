/** Defines the right to write to a cluster: a value that every writer is given, and asks before each write. */

/** Made by the lease of a migration; several may exist in one process, each with a term of its own. */
export interface WriteRight {
  /** Grows with every change of hands; what is stored carries it. Undefined before the right was ever had. */
  readonly term: number | undefined;
  /** Throws when the right is not certain now: LeaseLost for good, TransientError while it may come back. */
  assertHeld(): void;
  /** Runs `work`, which sends a structural command, once whoever takes over is sure to learn of it. */
  changing<T>(work: () => Promise<T>): Promise<T>;
}
