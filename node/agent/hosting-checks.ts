import type { Answer, Ask, DeployCheck } from '../../protocol/asks.ts';
import { localNameOf } from '../../protocol/names.ts';
import { asChecks, checkOf } from '../hosting/deploy-check.ts';
import { presets } from '../hosting/presets.ts';
import { hostAddress, reachedAt } from './hosting-answers.ts';
import type { Here, Membership } from './hosting-here.ts';

/*
 * What a person has looked at before anything is begun, on the machine that it concerns. Each is asked for once in a mesh's life or a
 * GitLab's: what it needs is loaded then. Nothing is changed by any of it.
 */

type Sources = Pick<Here, 'home' | 'dockerHost'> & { mesh: string };

export async function checkProtectHere(
  { container }: Ask & { kind: 'check-protect' },
  { home, dockerHost }: Pick<Here, 'home' | 'dockerHost'>,
): Promise<Answer> {
  const { checkProtect } = await import('./protect-check.ts');
  return checkProtect(container, { home, dockerHost });
}

export async function checkCopiesHere(
  ask: Ask & { kind: 'check-copies' },
  { home, mesh, holdsCopies }: Sources & Pick<Here, 'holdsCopies'>,
): Promise<Answer> {
  const { checkCopies } = await import('./copies-check.ts');
  const answer = checkCopies(ask, { home, mesh, isRefused: !holdsCopies });
  const isFit = answer.kind === 'copies-checked' && answer.checks.every(({ state }) => state !== 'fail');
  if (!isFit || ask.door !== true) return answer;
  const { openTrialDoor } = await import('../hosting/wire/door-trial.ts');
  return { ...answer, door: await openTrialDoor() };
}

type NameSources = Pick<Here, 'network' | 'forwards' | 'mdns'> & Pick<Membership, 'ledger'>;

/** The mesh's name, where this machine would answer to it; a line of the look where it cannot. */
async function ownName(
  mesh: string,
  { network, forwards, mdns }: Omit<NameSources, 'ledger'>,
): Promise<{ name?: string; lines: DeployCheck[] }> {
  const name = localNameOf(mesh);
  if (name === null || !forwards || !mdns || hostAddress(network.addresses()).startsWith('127.')) return { lines: [] };
  const { whyNotName } = await import('../hosting/address/name-trial.ts');
  const problem = await whyNotName(name);
  if (problem === null) return { name, lines: [] };
  const sentence = `GitLab is called by its machine's address, and not ${name}: ${problem}`;
  return {
    lines: [checkOf('warn', 'name', sentence, 'a name of your own, which you let lead there: --hostname NAME')],
  };
}

export async function checkDeploy(
  wish: (Ask & { kind: 'check-deploy' })['wish'],
  { home, mesh, dockerHost, ledger, ...here }: Sources & NameSources,
): Promise<Answer> {
  const { leastMemoryBytes, leastDiskBytes } = presets[wish.preset];
  const { deployFacts } = await import('../hosting/deploy-facts.ts');
  const { leftVersionLines } = await import('../hosting/data-version.ts');
  const { preflight } = await import('../hosting/deploy-preflight.ts');
  const named = wish.hostname === null ? ownName(ledger()?.mesh.name ?? '', here) : null;
  const facts = await deployFacts(wish, { home, mesh, dockerHost });
  const { hostname: address, ipv6 } = reachedAt(here.network);
  const { name, lines } = (await named) ?? { lines: [] };
  const { checks, place } = preflight(facts, { ...wish, leastMemoryBytes, leastDiskBytes });
  const left = place === null || place.data === null ? lines : leftVersionLines(place, wish.image);
  return {
    kind: 'deploy-checked',
    checks: [...asChecks(checks), ...left],
    place: place && { kind: place.kind, path: place.path, data: place.data },
    ...{ address, ipv6, name },
  };
}
