import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFileNow } from '../replace-file-now.ts';

/**
 * The certificate of GitLab's address with its key, one file (0600) of the home: agent and gate read it, the gate before it lets go of
 * root. One file, so that nobody meets the key of one and the certificate of another.
 */
const certificateFile = (home: string): string => join(home, 'gitlab-tls.pem');

/** Which one it is, for the words by which gates are told apart: a renewed one is served by a gate of its own. */
export const certificateMark = (pem: string): string => createHash('sha256').update(pem).digest('hex').slice(0, 16);

/** Null where there is none. */
export function readCertificate(home: string): string | null {
  try {
    return readFileSync(certificateFile(home), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** On the disk when it returns, and whole at each moment. */
export const writeCertificate = (home: string, pem: string): void => replaceFileNow(certificateFile(home), pem);

export const dropCertificate = (home: string): void => rmSync(certificateFile(home), { force: true });
