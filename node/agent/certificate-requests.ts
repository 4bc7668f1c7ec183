import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { HostedHttps } from '../../protocol/ledger-gitlab.ts';
import { hostedUrl } from '../../scheduler/hosting/hosted-edits.ts';
import { plural } from '../../scheduler/phrases.ts';
import { boxedCertificate, unboxedCertificate } from '../hosting/certificate-box.ts';
import {
  checkCertificate,
  daysLeft,
  type GivenCertificate,
  type KnownCertificate,
  knownCertificate,
} from '../hosting/gitlab-certificate.ts';
import type { CertificateAnswer, DeployPlan } from '../local-api/socket-protocol.ts';
import { requireHosting } from './copies-requests.ts';

interface CertificateLines {
  wallMs(): number;
  ledger(): Ledger;
  change(change: Change): Promise<ChangeOutcome>;
  /** Null for what is sealed for others. */
  unseal(sealed: string): string | null;
  /** For the voters and that machine. */
  sealFor(node: NodeId, text: string): string;
}

type Line = DeployPlan['lines'][number];

/** The certificate of the address of GitLab, as a person brings it at any machine that votes. */
export class CertificateRequests {
  readonly #lines: CertificateLines;

  constructor(lines: CertificateLines) {
    this.#lines = lines;
  }

  /** What a plan says of it; nothing of one that speaks http. */
  async planned(given: GivenCertificate | undefined, hostname: string): Promise<Line[]> {
    if (given === undefined) return [];
    const { wallMs } = this.#lines;
    const line = (state: Line['state'], sentence: string, fix: string | null): Line[] => [
      { state, what: 'certificate', sentence, fix },
    ];
    try {
      return line('ok', `for ${hostname}, ${this.#words(await checkCertificate(given, hostname, wallMs()))}`, null);
    } catch (error) {
      if (!(error instanceof AutogitError)) throw error;
      return line('fail', error.message, error.hint);
    }
  }

  /** For whoever serves it, in the ledger. */
  sealed(given: GivenCertificate, host: NodeId): HostedHttps {
    return boxedCertificate(given, (text) => this.#lines.sealFor(host, text));
  }

  /** Null: only looks. Throws `bad-flag`, `no-gitlab`, `unsupported`. */
  async renewed(given: GivenCertificate | null): Promise<CertificateAnswer> {
    const { ledger, wallMs, change } = this.#lines;
    const hosting = requireHosting(ledger());
    const { data, host, https } = hosting;
    const url = hostedUrl(hosting);
    if (https === undefined)
      throw new AutogitError('unsupported', `GitLab is served at ${url}, without a certificate`, {
        hint: 'https is chosen when it is deployed; uninstall it, which keeps its data, then: autogit-node gitlab deploy --hostname https://NAME --tls-cert FILE --tls-key FILE',
      });
    const known =
      given === null ? this.#known(https) : await checkCertificate(given, hosting.ipv6 ?? hosting.hostname, wallMs());
    if (given !== null) {
      const { state, because } = await change({ kind: 'gitlab-certificate', data, https: this.sealed(given, host) });
      if (state !== 'done')
        throw new AutogitError('unsupported', `the certificate is not taken: ${because}`, {
          hint: 'the one of before is served on; then the same again',
        });
    }
    return { url, ...known, words: this.#words(known) };
  }

  #known(https: HostedHttps): KnownCertificate {
    const key = this.#lines.unseal(https.key);
    if (key === null)
      throw new AutogitError(
        'unsupported',
        'the certificate is sealed for the machines that vote, and this one does not',
        {
          hint: 'type it on one that does: autogit-node status -o wide',
        },
      );
    const known = knownCertificate(unboxedCertificate(https, key));
    if (known !== null) return known;
    throw new AutogitError('unsupported', 'the certificate cannot be read', {
      hint: 'bring it again: autogit-node gitlab certificate --tls-cert FILE --tls-key FILE',
    });
  }

  #words(known: KnownCertificate): string {
    return `by ${known.issuer}, good for ${plural(daysLeft(known, this.#lines.wallMs()), 'day')} more`;
  }
}
