import { abilities } from '../../protocol/ledger.ts';
import type { HostedCopies } from '../../protocol/ledger-gitlab.ts';
import { firstCopies } from '../../scheduler/hosting/copies-set.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { Lab } from './jobs-lab.ts';
import { measured } from './jobs-lab-machines.ts';

/** Four machines that can all do everything; kang hosts GitLab, and `agreed` may hold copies of it. */
export function copiesLab(agreed: string[], over: Partial<HostedCopies> = {}, url: string | null = null): Lab {
  const names = ['kang', 'desktop-1', 'desktop-2', 'laptop'];
  const copies = { ...firstCopies(agreed), ...over };
  return new Lab({
    machines: Object.fromEntries(names.map((name) => [name, measured()])),
    ledger: (ledger) => ({
      ...ledger,
      nodes: Object.fromEntries(
        Object.entries(ledger.nodes).map(([id, node]) => [id, { ...node, can: [...abilities] }]),
      ),
      gitlab: {
        ...ledger.gitlab,
        ...{ mode: 'hosted', url, token: null, instance: null, host: 'kang', epoch: 1 },
        hosted: { ...hostedGitlab(), copies },
      },
    }),
  });
}
