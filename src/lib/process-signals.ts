/** Calls `listener` at every SIGHUP, which then no longer ends the process; returns the way to stop. */
export function onHangup(listener: () => void): () => void {
  process.on('SIGHUP', listener);
  return () => {
    process.removeListener('SIGHUP', listener);
  };
}
