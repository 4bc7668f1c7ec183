import type { Ledger } from '../../protocol/ledger.ts';
import type { HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { unboxedCertificate } from './certificate-box.ts';
import { certificateMark, readCertificate, writeCertificate } from './gate/gate-certificate.ts';
import type { Door } from './gate/gate-files.ts';

interface DoorKeys {
  home: string;
  canOpen(sealed: string): boolean;
  unseal(sealed: string): string;
}

/**
 * Where GitLab is reached on its machine. In TLS the certificate is the ledger's, and lies in the home once it is needed here. Throws,
 * with what to do, where it cannot be had: nothing is served in its place.
 */
export function doorsOf(
  { data, port, sshPort, ...hosted }: HostedGitlab,
  ledger: Ledger | null,
  keys: DoorKeys,
): Door[] {
  const now = hostingOf(ledger);
  // It changes while GitLab serves.
  const https = now?.data === data ? now.https : hosted.https;
  const pages = { port, behind: 80, proxy: true };
  const ssh: Door[] = sshPort === null ? [] : [{ kind: 'ssh', port: sshPort, behind: 22, proxy: false }];
  if (https === undefined) return [{ kind: 'http', ...pages }, ...ssh];
  const known = readCertificate(keys.home);
  if (known === null || certificateMark(known) !== https.mark) {
    if (!keys.canOpen(https.key))
      throw new Error(
        "the certificate of GitLab's address is sealed for others than this machine\n-> bring it again on one that votes: autogit-node gitlab certificate --tls-cert FILE --tls-key FILE",
      );
    writeCertificate(keys.home, unboxedCertificate(https, keys.unseal(https.key)));
  }
  const { httpPort } = hosted;
  const leads: Door[] =
    httpPort === undefined ? [] : [{ kind: 'redirect', port: httpPort, behind: port, proxy: false }];
  return [{ kind: 'https', ...pages, certificate: https.mark }, ...leads, ...ssh];
}
