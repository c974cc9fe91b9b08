/** Checks the form of a bearer token. */

const MIN_LENGTH = 16;
const MAX_LENGTH = 4096;

/** What keeps a text from being a bearer token; the text itself is not shown. */
export function tokenProblem(token: string): string | undefined {
  if (token === '') return 'holds no token';
  if (!/^[\x21-\x7e]+$/.test(token)) return 'must hold one token of visible ASCII characters, without spaces';
  if (token.length < MIN_LENGTH) return `holds a token of less than ${MIN_LENGTH} characters, which can be guessed`;
  if (token.length > MAX_LENGTH) return `holds a token of more than ${MAX_LENGTH} characters`;
  return undefined;
}
