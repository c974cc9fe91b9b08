const REDACTED = '[redacted]';

/** Query options of a connection string that hold secrets. */
const SECRET_URI_OPTIONS =
  /([?&;](?:tlsCertificateKeyFilePassword|sslPEMKeyPassword|authMechanismProperties|password|token)=)[^&\s"']*/gi;
/** `user:password@` after a scheme: up to the last `@` before the host's end, since people forget to escape one. */
const URI_USERINFO = /\b([a-z][a-z0-9+.-]*:\/\/)[^\s/?#"'<>,]*@/gi;
/** The same with an unescaped slash or question mark in the password, which only MongoDB's own schemes are checked for. */
const MONGODB_USERINFO = /\b(mongodb(?:\+srv)?:\/\/)[^\s"'<>@:]+:[^\s"'<>]*@/gi;
/** Words follow "basic" in plain prose too: a credential is long, or has more than letters. */
const AUTH_SCHEMES = /\b(Bearer|Basic|Digest)\s+(?:[\w.~+/=-]{16,}|(?=[A-Za-z]*[\d.~+/=_-])[\w.~+/=-]{4,})/gi;
const NAMED_SECRETS =
  /\b(authorization|password|passwd|pwd|secret|auth[_-]?token|access[_-]?token|api[_-]?key)(["']?\s*[=:]\s*["']?)(?!\[redacted\])(?:(?:Bearer|Basic|Digest)\s+)?[^\s"',;&}]+/gi;
/** What a server's duplicate-key message says of the document. */
const DUPLICATE_KEY = /\b(dup key:\s*)\{.*\}/gis;

const SECRET_KEYS = /^(?:.*password|.*passwd|pwd|.*secret|.*apikey|authorization|cookie|credentials?|.*token)$/i;

/**
 * Text without secrets: credentials of URIs, tokens, authorization headers, `password=…`, and the key values a server
 * quotes in duplicate-key messages. The rest is unchanged.
 */
export function redactText(text: string): string {
  return text
    .replace(MONGODB_USERINFO, `$1${REDACTED}@`)
    .replace(URI_USERINFO, `$1${REDACTED}@`)
    .replace(SECRET_URI_OPTIONS, `$1${REDACTED}`)
    .replace(NAMED_SECRETS, `$1$2${REDACTED}`)
    .replace(AUTH_SCHEMES, `$1 ${REDACTED}`)
    .replace(DUPLICATE_KEY, `$1${REDACTED}`);
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
 * quoted as they are, so nothing tells for sure where it ends.
 */
export function redactDocuments(text: string): string {
  const start = text.search(/[{[]/);
  return start < 0 ? text : `${text.slice(0, start + 1)}…`;
}
