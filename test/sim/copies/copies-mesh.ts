import { abilities, type Ledger } from '../../../protocol/ledger.ts';
import { firstCopies } from '../../../scheduler/hosting/copies-set.ts';
import { foundedMesh } from '../../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../../fixtures/hosted-gitlab.ts';

export const names = ['B', 'C', 'D'];
export const hosted = hostedGitlab();

/** K hosts GitLab; `chosen` stand by, and none is in sync. */
export function meshWithStandbys(chosen: string[]): Ledger {
  const founded = foundedMesh({ store: 'store-K', wallMs: 1_800_000_000_000 });
  const node = (name: string) => ({ ...founded.nodes.K!, name, can: [...abilities] });
  const copies = { ...firstCopies(chosen), standbys: chosen.map((one) => ({ node: one, because: 'named' })) };
  return {
    ...founded,
    nodes: Object.fromEntries(['K', ...names].map((one) => [one, node(one)])),
    gitlab: {
      ...founded.gitlab,
      ...{ mode: 'hosted', url: null, token: null, instance: null, host: 'K', epoch: 1 },
      hosted: { ...hosted, copies },
    },
  } as Ledger;
}
