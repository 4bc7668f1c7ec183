import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { AutogitError } from '../../protocol/errors.ts';
import { foundingLedger } from '../../protocol/founding-ledger.ts';
import { MeshName } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { archName } from '../../scheduler/jobs/demand.ts';
import { ask, confirm, hasTerminal } from '../cli/prompt.ts';
import type { Clock } from '../clock.ts';
import { enrol } from '../enrol/enrol-client.ts';
import { type FoundMesh, findMeshes } from '../enrol/find-meshes.ts';
import { type InviteCode, readInviteCode } from '../enrol/invite-code.ts';
import { shown } from '../foreign-text.ts';
import type { LanNetwork } from '../network/network.ts';
import type { Store } from '../ports.ts';
import type { Progress } from '../progress-lines.ts';
import { keepMeshKey } from '../secrets/mesh-key.ts';
import { newMeshKey } from '../secrets/seal.ts';
import type { JoinOptions } from '../settings/settings.ts';
import { wordsToCompare } from './newcomer-questions.ts';

const lookMs = 2_500;
/** Who founds looks only so long, when everybody in sight has said that it is in no mesh. */
const lookBeforeFoundingMs = 250;
const lookAgainMs = 5_000;
/** An invite or a pair window lets a machine in sooner; then nobody is asked to compare words. */
const noPersonMs = 700;

interface Joining {
  options: JoinOptions;
  network: LanNetwork;
  store: Store;
  /** Of this node's identity: it seals the mesh key in the store. */
  seed: Uint8Array;
  clock: Clock;
  lines: Progress;
  /** The mesh that this machine leaves for another one; null when it is in none. */
  leaving: string | null;
  /** The words to compare, for `status` and the demo; null while there are none. */
  onWords(words: string | null, mesh: string | null): void;
  signal: AbortSignal;
}

type Target = { kind: 'found'; name: string } | { kind: 'knock'; mesh: FoundMesh };

/**
 * A machine that is in no mesh yet: look around -> found one (asked, or `--new`) or knock at a member -> wait for a
 * person. What it ends with is on disk before this resolves, so that a restart goes on as a member. Null: aborted.
 */
export async function becomeMember(joining: Joining): Promise<'founded' | 'let-in' | null> {
  const { options, signal } = joining;
  const invite = options.invite === null ? null : readInviteCode(options.invite);
  for (let looks = 0; !signal.aborted; looks++) {
    const target = await choose(joining, invite, looks === 0);
    if (target === null) continue;
    if (target.kind === 'found') {
      await found(joining, target.name);
      return 'founded';
    }
    if (await enter(joining, target.mesh, invite)) return 'let-in';
    await pause(1_000, signal);
  }
  return null;
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  setTimeout(ms, undefined, { signal }).catch(() => undefined);

/** True when there is no way by which another machine could be found. */
const isAlone = ({ options }: Joining): boolean => !options.mdns && options.peers.length === 0;

async function choose(joining: Joining, invite: InviteCode | null, isFirst: boolean): Promise<Target | null> {
  const { options, network, lines } = joining;
  const began = performance.now();
  const isWanted = ({ meshId, meshName }: FoundMesh): boolean =>
    meshId !== joining.leaving && (options.mesh === null || [meshName, meshId].includes(options.mesh));
  const isLooking = !(options.found && isAlone(joining));
  const forMs = isFirst ? lookMs : lookAgainMs;
  const quietMs = options.found ? lookBeforeFoundingMs : Number.POSITIVE_INFINITY;
  const all = isLooking ? await findMeshes(network.door, forMs, (found) => found.some(isWanted), quietMs) : [];
  const meshes = all.filter(isWanted);
  const each = [...new Map(meshes.map((mesh) => [mesh.meshId, mesh])).values()];
  if (each.length > 1) return { kind: 'knock', mesh: await pickOne(joining, each) };
  const [mesh] = meshes;
  if (mesh && !(options.found?.name && options.found.name !== mesh.meshName)) {
    const members = meshes.map(({ memberName }) => memberName).join(' and ');
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    lines.ok('discovery', `mesh "${shown(mesh.meshName)}": ${members} found in ${seconds} s`);
    return { kind: 'knock', mesh };
  }
  if (options.found) return { kind: 'found', name: options.found.name ?? options.mesh ?? 'home' };
  return nobodyAnswers(joining, all, invite, isFirst);
}

/** Two meshes may have one name: then they are told apart by who is in them, and chosen by their ids. */
async function pickOne({ options, signal }: Joining, meshes: FoundMesh[]): Promise<FoundMesh> {
  const names = new Set(meshes.map(({ meshName }) => meshName));
  const called = (mesh: FoundMesh): string => (names.size === meshes.length ? mesh.meshName : mesh.meshId);
  const listed = meshes.map((mesh) => `${shown(mesh.meshName)} (of ${mesh.memberName}, id ${mesh.meshId})`).join(', ');
  const [first] = meshes as [FoundMesh];
  if (!hasTerminal(options))
    throw new AutogitError('no-mesh', `several meshes answer: ${listed}`, {
      hint: `name one of them: autogit-node join --mesh ${called(first)}`,
    });
  for (;;) {
    const question = `Several meshes answer: ${listed}. Which one? [${called(first)}]`;
    const wanted = await ask(question, called(first), { ...options, signal });
    const one = meshes.find((mesh) => [called(mesh), mesh.meshId, mesh.memberName].includes(wanted));
    if (one) return one;
  }
}

async function nobodyAnswers(
  joining: Joining,
  others: FoundMesh[],
  invite: InviteCode | null,
  isFirst: boolean,
): Promise<Target | null> {
  const { options, network, lines, signal } = joining;
  const isAsking = invite === null && hasTerminal(options);
  // Said once: from now on it looks without a pause, so that a mesh that is founded next door is found at once.
  if (!isAsking && !isFirst) return null;
  for (const problem of network.diagnosis.problems()) lines.warn('discovery', problem);
  const seen =
    others.length > 0 ? ` (only of others: ${[...new Set(others.map((one) => one.meshName))].join(', ')})` : '';
  if (isAsking) {
    const question = `No mesh answers on this LAN${seen}. Start a new one here?`;
    if (await confirm(question, true, { ...options, signal })) return foundUnless(joining, await askName(joining));
    await pause(lookAgainMs, signal);
  } else {
    lines.wait(
      'discovery',
      `no mesh answers yet${seen}; looking on. To start one here: autogit-node join --new; where multicast does not work name a machine: autogit-node join --peer ADDRESS`,
    );
  }
  return null;
}

/** Whoever was asked thought for a while, and so did the people at the other machines: one more look before founding. */
async function foundUnless(joining: Joining, name: string): Promise<Target> {
  const { network, options, signal, leaving } = joining;
  const meanwhile = isAlone(joining)
    ? []
    : await findMeshes(network.door, lookMs, (found) => found.length > 0, lookBeforeFoundingMs);
  const mesh = meanwhile.find(({ meshId }) => meshId !== leaving);
  if (mesh === undefined) return { kind: 'found', name };
  const question = `${mesh.memberName} founded "${shown(mesh.meshName)}" meanwhile: ask to be let in there?`;
  const isWanted = await confirm(question, true, { ...options, signal });
  return isWanted ? { kind: 'knock', mesh } : { kind: 'found', name };
}

async function askName({ options, lines, signal }: Joining): Promise<string> {
  for (;;) {
    const name = MeshName.safeParse(
      await ask(`Its name? [${options.mesh ?? 'home'}]`, options.mesh ?? 'home', { ...options, signal }),
    );
    if (name.success) return name.data;
    lines.warn('name', name.error.issues[0]?.message ?? 'this is no name');
  }
}

async function found(joining: Joining, name: string): Promise<void> {
  const { options, network, store, clock, lines } = joining;
  const wallMs = clock.wallMs();
  const ledger = foundingLedger({
    meshId: randomBytes(8).toString('hex'),
    meshName: name,
    era: randomUUID(),
    node: network.self,
    name: options.name,
    store: store.id,
    addresses: network.addresses(),
    witness: options.witness,
    wallMs,
    pairUntil: options.pairMs === null ? 0 : wallMs + options.pairMs,
    defaultArch: archName(process.arch),
  });
  await keep(joining, ledger, newMeshKey());
  lines.ok('founded', `mesh "${name}"; on the other machines: autogit-node join`);
}

/** The key first: a ledger without its key would be a member that cannot open its secrets. */
async function keep({ store, seed }: Joining, ledger: Ledger, meshKey: string): Promise<void> {
  await keepMeshKey(store, seed, meshKey);
  await store.write([
    { key: 'accepted', value: ledger },
    { key: 'committed', value: ledger },
  ]);
}

/** Knocks and waits; true when approved. Throws `turned-away` when a person, or the invite, said no. */
async function enter(joining: Joining, mesh: FoundMesh, invite: InviteCode | null): Promise<boolean> {
  const { options, network, store, lines, onWords, signal } = joining;
  const began = performance.now();
  let asking: NodeJS.Timeout | undefined;
  const newcomer = { name: options.name, store: store.id, witness: options.witness, invite };
  const outcome = await enrol(
    network.door,
    { node: mesh.member, addresses: mesh.addresses },
    newcomer,
    {
      words: (words, { name }) => {
        onWords(words, name);
        asking = globalThis.setTimeout(() => lines.wait('approval', wordsToCompare(options.name, words)), noPersonMs);
      },
      pending: () => {},
    },
    signal,
  );
  clearTimeout(asking);
  onWords(null, null);
  if (outcome.kind === 'approved') {
    await keep(joining, outcome.ledger, outcome.meshKey);
    lines.ok('approved', `${shown(outcome.because)}, after ${((performance.now() - began) / 1000).toFixed(0)} s`);
    return true;
  }
  if (signal.aborted) return false;
  if (outcome.kind === 'refused')
    throw new AutogitError('turned-away', `${mesh.memberName} refused: ${shown(outcome.because)}`);
  lines.warn('approval', `${mesh.memberName}: ${shown(outcome.because)}; trying again`);
  return false;
}
