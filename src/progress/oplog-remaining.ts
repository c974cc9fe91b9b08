/**
 * mongosync's text for how long the source's oplog will still hold what is needed. `seconds`: from the oldest entry to
 * the oldest one still needed.
 */
export function oplogRemainingText(seconds: number | undefined): string {
  if (seconds === undefined) return 'not checked yet';
  const minutes = Math.floor(seconds / 60);
  if (minutes < 15) return 'less than 15 minutes';
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.floor(minutes / 60);
  if (hours > 72) return 'more than 72 hours';
  return hours === 1 ? '1 hour' : `${hours} hours`;
}
