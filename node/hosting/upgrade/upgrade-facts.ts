import type { Answer, Ask } from '../../../protocol/asks.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import type { VaultSeen } from '../../../protocol/report.ts';
import { upgradeWay } from '../../../scheduler/hosting/upgrade-path.ts';
import { listed } from '../../../scheduler/phrases.ts';
import { nodeName } from '../../../scheduler/snapshot-view.ts';
import { memory } from '../../machine/memory.ts';
import { cloneMemory } from '../clone/gitlab-clones.ts';
import { asChecks } from '../deploy-check.ts';
import { engineFacts, type ImageFacts, imageFacts } from '../deploy-facts.ts';
import type { KeptGitlab } from '../kept-gitlab.ts';
import { systemTools } from '../system-tools.ts';
import { upgradeChecks } from './upgrade-checks.ts';
import { roomFor } from './upgrade-room.ts';

interface CheckSources {
  dockerHost: string | null;
  kept: KeptGitlab;
  ledger: Ledger | null;
  busy: string | null;
  vault: VaultSeen | null;
}

const notAsked: ImageFacts = { state: 'unknown', architectures: [], problem: null };

/** Looks at this machine, and changes nothing. */
export async function checkUpgrade(
  { image, rehearse }: Ask & { kind: 'check-upgrade' },
  { dockerHost, kept, ledger, busy, vault }: CheckSources,
): Promise<Answer> {
  const { version, hosting } = kept;
  const way = version === null ? null : upgradeWay(version, image);
  const steps = way !== null && 'steps' in way ? way.steps : [];
  const engine = await engineFacts(dockerHost);
  const first = steps[0]?.image;
  const found = 'version' in engine && first !== undefined ? await imageFacts(dockerHost, first) : notAsked;
  const place = await kept.placeAsItIs();
  const isFolder = place.kind === 'folder';
  const checks = upgradeChecks({
    ...{ version, way, busy, rehearse },
    image: { ...found, name: first ?? image },
    architecture: 'version' in engine ? engine.architecture : '',
    place: {
      ...{ kind: place.kind, path: hosting.place.path, freeBytes: place.freeBytes() },
      needsBytes: isFolder ? 0 : await roomFor(place, systemTools),
    },
    memory: { availableBytes: (await memory()).available, needsBytes: cloneMemory(hosting.preset) },
    isServing: kept.life.hasWorked && kept.mayRun,
    elsewhere: elsewhere(ledger, vault),
  });
  return {
    kind: 'upgrade-checked',
    checks: asChecks(checks),
    from: version,
    steps: steps.map((one) => one.version),
    awayMs: kept.usualBootMs,
  };
}

function elsewhere(ledger: Ledger | null, vault: VaultSeen | null): string[] {
  const members = ledger?.gitlab.hosted?.copies?.set.members ?? [];
  return [
    ...(members.length === 0 ? [] : [`copies on ${listed(members.map((node) => nodeName(ledger, node)))}`]),
    ...(vault?.last ? [`backup ${vault.last.id}`] : []),
  ];
}
