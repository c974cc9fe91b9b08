/**
 * A moment as log lines have it: RFC 3339 in UTC, with the six decimals and the offset in digits that readers of
 * mongosync's logs rely on (strptime's `%f` of the first 26 characters).
 */
export function logTime(moment: Date): string {
  return moment.toISOString().replace('Z', '000+00:00');
}
