/** Removes secrets and contents of documents from texts. */

const REDACTED = '[redacted]';

/** Query options of a connection string that hold secrets. */
const SECRET_URI_OPTIONS =
  /([?&;](?:tlsCertificateKeyFilePassword|sslPEMKeyPassword|authMechanismProperties|password|token)=)[^&\s"']*/gi;
/** `user:password@` after a scheme: up to the last `@` before the host's end, since people forget to escape one. */
const URI_USERINFO = /(?<=[a-z0-9+.-]:\/\/)[^\s/?#"'<>,]*@/gi;
/**
 * The same with an unescaped slash or question mark in the password, which only MongoDB's own schemes are checked for:
 * all that may belong to the string, for `withoutUserinfo` to look into.
 */
const MONGODB_STRING = /\b(mongodb(?:\+srv)?:\/\/)([^\s"'<>]*)/gi;
/** Words follow "basic" in plain prose too: a credential is long, or has more than letters. */
const AUTH_SCHEMES = /\b(Bearer|Basic|Digest)\s+(?:[\w.~+/=-]{16,}|(?=[A-Za-z]*[\d.~+/=_-])[\w.~+/=-]{4,})/gi;
const NAMED_SECRETS =
  /\b(authorization|password|passwd|pwd|secret|auth[_-]?token|access[_-]?token|api[_-]?key)(["']?\s*[=:]\s*["']?)(?!\[redacted\])(?:(?:Bearer|Basic|Digest)\s+)?[^\s"',;&}]+/gi;
/** Where a server's duplicate-key message begins to tell of the document. */
const DUPLICATE_KEY = /\bdup key:\s*\{/i;

const SECRET_KEYS = /^(?:.*password|.*passwd|pwd|.*secret|.*apikey|authorization|cookie|credentials?|.*token)$/i;

/**
 * Text without secrets: credentials of URIs, tokens, authorization headers, `password=…`, and the key values a server
 * quotes in duplicate-key messages. The rest is unchanged.
 *
 * The text may be a caller's: each pattern takes time in proportion to its length, whatever it holds.
 */
export function redactText(text: string): string {
  return withoutKey(text)
    .replace(MONGODB_STRING, withoutUserinfo)
    .replace(URI_USERINFO, `${REDACTED}@`)
    .replace(SECRET_URI_OPTIONS, `$1${REDACTED}`)
    .replace(NAMED_SECRETS, `$1$2${REDACTED}`)
    .replace(AUTH_SCHEMES, `$1 ${REDACTED}`);
}

function withoutUserinfo(whole: string, scheme: string, rest: string): string {
  const at = rest.lastIndexOf('@');
  const colon = rest.indexOf(':');
  return colon > 0 && colon < at ? `${scheme}${REDACTED}${rest.slice(at)}` : whole;
}

/** Up to the last brace: strings in it are not escaped. */
function withoutKey(text: string): string {
  const found = DUPLICATE_KEY.exec(text);
  const end = text.lastIndexOf('}');
  if (found === null || end < found.index) return text;
  return `${text.slice(0, found.index + found[0].length - 1)}${REDACTED}${text.slice(end + 1)}`;
}

/** What is looked at beyond the part that is kept, so that a secret that begins in it is seen to its end. */
const BEYOND = 4096;

/**
 * The first `max` characters of a text without secrets. Cut before it is searched: however long it is, the rest costs
 * nothing.
 */
export function redactAndCut(text: string, max: number): string {
  if (text.length <= max) return redactText(text);
  const redacted = redactText(text.slice(0, max + BEYOND));
  const count = `… (${text.length} characters)`;
  if (text.length <= max + BEYOND) return `${redacted.slice(0, max)}${count}`;
  // What was cut short may end in the beginning of a secret, wherever that stands now.
  return `${redacted.slice(0, Math.max(0, Math.min(max, redacted.length - BEYOND)))}${count}`;
}

/** Whether a field of this name holds a secret, whatever its value. */
export function isSecretKey(key: string): boolean {
  return SECRET_KEYS.test(key.replace(/[_-]/g, ''));
}

/** The replacement of a secret field's value: numbers and booleans are no secrets (a fencing token, `hasPassword`). */
export function redactSecretValue(value: unknown): unknown {
  return typeof value === 'number' || typeof value === 'boolean' || value === undefined || value === null
    ? value
    : REDACTED;
}

/**
 * A server's error text up to the first document or array that it quotes. What follows it is lost, too: strings in it are
 * quoted as they are, so nobody can tell for sure where it ends.
 */
export function redactDocuments(text: string): string {
  const start = text.search(/[{[]/);
  return start < 0 ? text : `${text.slice(0, start + 1)}…`;
}
