import type { Answer, Ask } from '../../protocol/asks.ts';
import { asChecks } from '../hosting/deploy-check.ts';
import { presets } from '../hosting/presets.ts';
import { reachedAt } from './hosting-answers.ts';
import type { Here } from './hosting-here.ts';

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

export async function checkDeploy(
  wish: (Ask & { kind: 'check-deploy' })['wish'],
  { home, mesh, dockerHost, network }: Sources & Pick<Here, 'network'>,
): Promise<Answer> {
  const { leastMemoryBytes, leastDiskBytes } = presets[wish.preset];
  const { deployFacts } = await import('../hosting/deploy-facts.ts');
  const { preflight } = await import('../hosting/deploy-preflight.ts');
  const facts = await deployFacts(wish, { home, mesh, dockerHost });
  const { hostname: address, ipv6 } = reachedAt(network);
  const { checks, place } = preflight(facts, { ...wish, leastMemoryBytes, leastDiskBytes });
  return {
    kind: 'deploy-checked',
    checks: asChecks(checks),
    place: place && { kind: place.kind, path: place.path, data: place.data },
    address,
    ipv6,
  };
}
