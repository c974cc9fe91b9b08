/** Makes time an input, so that tests can set it. */
export interface Clock {
  /** Wall-clock time; may jump. For log lines and records only, never for measuring. */
  now(): Date;
  /** Milliseconds since an arbitrary moment; never goes back. For deadlines, rates and durations. */
  monotonicMs(): number;
}

/** The process's real clock. */
export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
};
