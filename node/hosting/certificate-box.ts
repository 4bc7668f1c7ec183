import { randomBytes } from 'node:crypto';
import type { HostedHttps } from '../../protocol/ledger-gitlab.ts';
import { decrypt, encrypt } from '../secrets/aes-gcm.ts';
import { certificateMark } from './gate/gate-certificate.ts';
import type { GivenCertificate } from './gitlab-certificate.ts';

/** As the ledger has it: once, however many may open it. `seal`: a short secret, for them. */
export function boxedCertificate(
  { certificate, key, ca }: GivenCertificate,
  seal: (text: string) => string,
): HostedHttps {
  const pem = `${key.trim()}\n${certificate.trim()}\n`;
  const own = randomBytes(32);
  const box = encrypt(own, pem).toString('base64');
  return { mark: certificateMark(pem), box, key: seal(own.toString('hex')), ...(ca !== undefined && { ca }) };
}

/** Certificate and key as PEM. Throws where the key is another one's, or they are not those that the mark is of. */
export function unboxedCertificate({ mark, box }: HostedHttps, keyHex: string): string {
  const pem = decrypt(Buffer.from(keyHex, 'hex'), Buffer.from(box, 'base64'));
  if (certificateMark(pem) !== mark)
    throw new Error("the certificate of GitLab's address is not the one that was brought");
  return pem;
}
