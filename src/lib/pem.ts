/** Checks PEM files: certificates, keys, and their dates. */
import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';

const CERTIFICATE = /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]*-----END (?:TRUSTED )?CERTIFICATE-----/g;
const PRIVATE_KEY = /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/;
const ENCRYPTED_KEY = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m;

/** What keeps a PEM text from being used as a certificate and its private key; nothing of the text is shown. */
export function certificateKeyProblem(text: string): string | undefined {
  if (!PRIVATE_KEY.test(text)) return 'holds no private key: put the certificate and its key into one PEM file';
  if (ENCRYPTED_KEY.test(text)) return 'holds an encrypted private key: store it without a passphrase';
  const problem = certificatesProblem(text);
  if (problem !== undefined) return problem;
  try {
    createSecureContext({ cert: text, key: text });
    return undefined;
  } catch (error) {
    return `cannot be used: ${reasonOf(error)}`;
  }
}

/** What keeps a PEM text from being used as a list of certificates, such as those of certificate authorities. */
export function certificatesProblem(text: string): string | undefined {
  const blocks = text.match(CERTIFICATE) ?? [];
  if (blocks.length === 0) return 'holds no certificate in PEM form';
  try {
    for (const block of blocks) new X509Certificate(block);
    return undefined;
  } catch (error) {
    return `holds a certificate that cannot be read: ${reasonOf(error)}`;
  }
}

/** When the first certificate of a text ends to be valid, and from when on it is. Precondition: there is one. */
export function validityOf(text: string): { readonly from: Date; readonly to: Date } {
  const [first = ''] = text.match(CERTIFICATE) ?? [];
  const { validFrom, validTo } = new X509Certificate(first);
  return { from: new Date(validFrom), to: new Date(validTo) };
}

/** Why the first certificate of a text is not valid at a time. Precondition: there is one. */
export function untimelyProblem(text: string, now: Date): string | undefined {
  const { from, to } = validityOf(text);
  if (now > to) return `holds a certificate that has expired (${to.toISOString()})`;
  if (now < from) return `holds a certificate that is not valid before ${from.toISOString()}`;
  return undefined;
}

/** OpenSSL's word for it, without its numbers and function names. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return 'reason' in error && typeof error.reason === 'string' ? error.reason : error.message;
}
