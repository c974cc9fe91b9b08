/**
 * Writes `--flag` as `--flag=true` for every boolean flag that stands alone, so that the word after it is never taken
 * for its value: mongosync's flags stand alone, and also allow `--flag=false`. Words after `--` are left as they are.
 */
export function normaliseBooleans(argv: readonly string[], booleanFlags: ReadonlySet<string>): string[] {
  const end = argv.indexOf('--');
  return argv.map((word, index) => (booleanFlags.has(word) && (end < 0 || index < end) ? `${word}=true` : word));
}
