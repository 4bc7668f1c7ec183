import { existsSync, renameSync, rmSync } from 'node:fs';
import { AutogitError } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { listed, plural } from '../../scheduler/phrases.ts';
import { confirm, hasTerminal } from '../cli/prompt.ts';
import type { Store } from '../ports.ts';
import type { Progress } from '../progress-lines.ts';
import type { JoinOptions } from '../settings/settings.ts';
import { places } from '../store/home.ts';
import { hasStore, openStore } from '../store/level-store.ts';

const nextOf = (home: string): string => `${places(home).store}.next`;
/** They are the machine's own, whatever mesh it is in. */
const keptFacts = ['pause', 'hours-skipped', 'port', 'evidence-port'];
const leftOf = (home: string): string => `${places(home).store}.left`;

/**
 * Leaving a home's mesh for another one (`join --switch`) keeps the identity and takes a new store: votes and promises
 * of one mesh mean nothing in another, and a store that comes back later must be a new one (SAFETY L8). Life: a store
 * `next` -> the machine is let in, which that store holds -> it takes the place of the old one, which is deleted with its
 * mesh's key. Until then nothing is lost: a machine that is turned away is what it was before.
 */
export async function openNextStore(options: JoinOptions, self: NodeId, store: Store): Promise<Store> {
  await mayLeave(options, self, store);
  rmSync(nextOf(options.home), { recursive: true, force: true });
  const next = await openStore(nextOf(options.home));
  for (const fact of keptFacts) {
    const value = await store.get(fact);
    if (value !== null) await next.put(fact, value);
  }
  return next;
}

async function mayLeave(options: JoinOptions, self: NodeId, store: Store): Promise<void> {
  const runs = (await store.runs()).length;
  if (runs > 0)
    throw new AutogitError(
      'unsupported',
      `${plural(runs, 'job')} of this machine's mesh ${runs === 1 ? 'has' : 'have'} not ended here`,
      {
        hint: 'let them end, then leave, and join --switch again: autogit-node join',
      },
    );
  const { committed } = await store.load();
  if (committed?.gitlab.mode === 'hosted' && committed.gitlab.host === self)
    throw new AutogitError('unsupported', `this machine runs the GitLab of "${committed.mesh.name}"`, {
      hint: 'uninstall it there first, its data stays: autogit-node gitlab uninstall',
    });
  const others = Object.entries(committed?.nodes ?? {})
    .filter(([node]) => node !== self)
    .map(([, { name }]) => name);
  if (committed === null || others.length === 0) return;
  const stays = `It stays a member of "${committed.mesh.name}" until somebody types there: autogit-node forget ${options.name}`;
  const question = `This machine is in mesh "${committed.mesh.name}" with ${listed(others)}. ${stays}\nLeave it for another mesh?`;
  if (!hasTerminal(options))
    throw new AutogitError('no-terminal', `this machine is not alone in its mesh "${committed.mesh.name}"`, {
      hint: 'on a terminal, where it asks: autogit-node join --switch',
    });
  if (!(await confirm(question, false, options)))
    throw new AutogitError('not-approved', 'left as it was', { hint: 'autogit-node join' });
}

/** To be called before a store of this home is opened: a switch that was let in and then cut off is finished. */
export async function finishSwitch(home: string): Promise<void> {
  const { store } = places(home);
  // Of one that was cut off at its very end: the mesh of before would lie there for good, and in the way of the next switch.
  if (existsSync(store)) rmSync(leftOf(home), { recursive: true, force: true });
  if (!existsSync(nextOf(home)) || !hasStore(nextOf(home))) return;
  const next = await openStore(nextOf(home));
  const isIn = await next.load().then(
    ({ accepted }) => accepted !== null,
    () => false,
  );
  await next.close();
  if (isIn) {
    if (existsSync(store)) renameSync(store, leftOf(home));
    renameSync(nextOf(home), store);
  }
  rmSync(nextOf(home), { recursive: true, force: true });
  rmSync(leftOf(home), { recursive: true, force: true });
}

/**
 * Flags that cannot be obeyed in a home that has a mesh. What was typed is refused; what stands in a variable or a file
 * was obeyed at the first start, and must not keep a service from starting again.
 */
export function checkMeshFlags(options: JoinOptions, mesh: Ledger['mesh'], lines: Progress): void {
  const { typed, invite, found } = options;
  const isOther = (name: string | null): name is string => name !== null && ![mesh.name, mesh.id].includes(name);
  const wrong: [key: string, value: string][] = [];
  if (isOther(options.mesh)) wrong.push(['mesh', options.mesh]);
  if (found && isOther(found.name)) wrong.push(['new', found.name]);
  if (invite !== null) wrong.push(['invite', 'CODE']);
  for (const [key, value] of wrong) {
    const sentence = `this machine is in mesh "${mesh.name}" already, so that --${key}${key === 'invite' ? '' : ` ${value}`} cannot be obeyed`;
    if (typed.includes(key))
      throw new AutogitError('bad-flag', sentence, {
        hint: `leave it out to stay in "${mesh.name}"; to go there: autogit-node join --switch --${key} ${value}`,
      });
    lines.warn('mesh', sentence);
  }
  if (found && !isOther(found.name))
    lines.ok('mesh', `this machine is in mesh "${mesh.name}" already: none is founded`);
}
