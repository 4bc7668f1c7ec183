import { AutogitError } from '../../protocol/errors.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { loadIdentity } from '../secrets/identity.ts';
import { readMeshKey } from '../secrets/mesh-key.ts';
import { SecretBox } from '../secrets/secret-box.ts';
import { places } from '../store/home.ts';
import { hasStore, openStore } from '../store/level-store.ts';
import type { FallbackClass } from './runner-config.ts';

interface KeptClasses {
  ledger: Ledger;
  node: string;
  /** This machine's id. */
  self: string;
  classes: FallbackClass[];
  /** Tags of classes whose token this machine cannot open, or that have none. */
  closed: (readonly string[])[];
}

/**
 * What the store of an agent that does not run knows of GitLab's runners. Throws `agent-running` while it runs, `no-mesh` where none was
 * joined, `no-gitlab` where the mesh has none.
 */
export async function keptClasses(home: string): Promise<KeptClasses> {
  const at = places(home);
  if (!hasStore(at.store))
    throw new AutogitError('no-mesh', `this machine is in no mesh: there is no store in ${home}`, {
      hint: 'name the home of its agent: --home DIR',
    });
  const store = await openStore(at.store).catch((error: unknown) => {
    if (!(error instanceof AutogitError) || error.code !== 'agent-running') throw error;
    throw new AutogitError('agent-running', "the agent runs here: while it does, the jobs are the mesh's", {
      hint: 'pause first, and wait until status shows no job here (without the agent they stand still, and may be lost); then: autogit-node leave',
    });
  });
  try {
    const { committed: ledger } = await store.load();
    if (ledger === null)
      throw new AutogitError('no-mesh', `this machine is in no mesh yet: the store in ${home} has no ledger`);
    if (ledger.gitlab.mode === 'none' || ledger.gitlab.url === null)
      throw new AutogitError('no-gitlab', 'the mesh has no GitLab, so there are no jobs to take');
    const { id: self, privateKey } = await loadIdentity(home);
    const seed = privateKey.raw;
    const meshKey = await readMeshKey(store, seed);
    const box = new SecretBox({ self, seed, meshKey, ledger: () => ledger });
    const ready = Object.values(ledger.classes).filter(({ state }) => state === 'ready');
    const opened = ready.map(({ tags, token }) => ({ tags, token: token === null ? null : box.opened(token) }));
    return {
      ledger,
      self,
      node: ledger.nodes[self]?.name ?? 'this machine',
      classes: opened.flatMap(({ tags, token }) => (token === null ? [] : [{ tags, token }])),
      closed: opened.filter(({ token }) => token === null).map(({ tags }) => tags),
    };
  } finally {
    await store.close();
  }
}
