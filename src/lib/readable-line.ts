/** Formats a JSON log line for people at a terminal. */

const HEAD = new Set(['time', 'level', 'serverID', 'mongosyncID', 'pid', 'componentName', 'message']);
const LEVEL_WIDTH = 5;
const COMPONENT_WIDTH = 10;

/**
 * A JSON line of the log for people at a terminal: time of day in UTC, level, component, message, then the fields. Control
 * characters are shown, not sent: what a server says must not move the cursor. A line that is no JSON stays as it is.
 */
export function readableLine(line: string): string {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch (error) {
    if (error instanceof SyntaxError) return line;
    throw error;
  }
  const at = `${String(entry['time']).slice(11, 23)}Z`;
  const level = String(entry['level']).toUpperCase().padEnd(LEVEL_WIDTH);
  const component = String(entry['componentName']).padEnd(COMPONENT_WIDTH);
  const fields = Object.entries(entry).filter(([name, value]) => !HEAD.has(name) && value !== null);
  const words = [at, level, component, visible(String(entry['message']))];
  for (const [name, value] of fields) words.push(`${name}=${textOf(value)}`);
  return `${words.join(' ')}\n`;
}

function textOf(value: unknown): string {
  const isWord = typeof value === 'string' && /^[\w./:@+-]+$/.test(value);
  return isWord ? value : visible(JSON.stringify(value));
}

function visible(text: string): string {
  return text.replace(/\p{Cc}/gu, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
