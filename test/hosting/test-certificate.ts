import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TestCertificate {
  certificate: string;
  key: string;
}

const ecKey = ['ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];

/** By openssl, signed by itself: who shall believe it is told so. */
export function testCertificate(names: readonly string[], days = 90, kind = ecKey): TestCertificate {
  const folder = mkdtempSync(join(tmpdir(), 't-certificate-'));
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
  const isAddress = (name: string): boolean => isIP(name) !== 0;
  const alternative = names.map((name) => `${isAddress(name) ? 'IP' : 'DNS'}:${name}`).join(',');
  const curve = ['-newkey', ...kind, '-nodes', '-days', String(days)];
  const subject = ['-subj', `/CN=${names[0]}`, '-addext', `subjectAltName=${alternative}`];
  execFileSync('openssl', ['req', '-x509', ...curve, ...subject, '-keyout', key, '-out', certificate], {
    stdio: 'ignore',
  });
  const made = { certificate: readFileSync(certificate, 'utf8'), key: readFileSync(key, 'utf8') };
  rmSync(folder, { recursive: true });
  return made;
}

/** A CA, one that it made, and a certificate for that name by the second: the first two as PEM. */
export function testChain(name: string): { root: string; between: string; end: TestCertificate } {
  const folder = mkdtempSync(join(tmpdir(), 't-chain-'));
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
  const made = (of: string): string => readFileSync(join(folder, of), 'utf8');
  const signed = (of: string, by: string, extension: string): void => {
    openssl(
      'req',
      '-new',
      '-newkey',
      ...ecKey,
      '-nodes',
      '-subj',
      `/CN=${of}`,
      '-keyout',
      `${of}.key`,
      '-out',
      `${of}.csr`,
    );
    writeFileSync(join(folder, 'extension'), extension);
    const by2 = ['-CA', `${by}.pem`, '-CAkey', `${by}.key`, '-CAcreateserial', '-days', '90'];
    openssl('x509', '-req', '-in', `${of}.csr`, ...by2, '-extfile', 'extension', '-out', `${of}.pem`);
  };
  const self = ['req', '-x509', '-newkey', ...ecKey, '-nodes', '-days', '90', '-subj', '/CN=root'];
  openssl(...self, '-keyout', 'root.key', '-out', 'root.pem');
  signed('between', 'root', 'basicConstraints=critical,CA:TRUE');
  signed('end', 'between', `basicConstraints=CA:FALSE\nsubjectAltName=DNS:${name}`);
  const chain = { root: made('root.pem'), between: made('between.pem') };
  const end = { certificate: made('end.pem'), key: made('end.key') };
  rmSync(folder, { recursive: true });
  return { ...chain, end };
}
