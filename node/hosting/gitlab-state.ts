import { plural, span } from '../../scheduler/phrases.ts';

/** As `status` shows it; `absent` is what nobody reports. */
type GitlabCondition = 'deploying' | 'healthy' | 'degraded' | 'failed' | 'repairing';

export const gitlabTimings = {
  /** Longer boots are said. */
  softBootMs: 300_000,
  /** A boot that takes so long is none (contract §5). */
  hardBootMs: 1_200_000,
  /** One failed question is no state: git gc, a migration, a full queue. */
  degradedMs: 15_000,
  /** Its function is gone for so long, after it had worked: it is started anew. */
  deadMs: 180_000,
  /** ms before the first, second, ... repair in a row; after the last, a person is needed. */
  repairWaitMs: [0, 10_000, 60_000, 300_000, 600_000],
  /** It has worked for so long: earlier repairs are forgotten. */
  wellMs: 1_800_000,
  /** Of the disk that its data lie on. */
  leastFreeBytes: 2 ** 30,
  memoryShare: 0.95,
} as const;

/** What a look at the machine found. Times are of boot time. */
export interface GitlabLook {
  nowMs: number;
  container: 'absent' | 'running' | 'ended';
  /** How it ended, in words. */
  ended?: string;
  /** The watchdog has it stand still, for want of a lease. */
  isFrozen: boolean;
  /** Since its container was begun, as far as that is known; counts only when this process did not see it begin. */
  ageMs?: number;
  /** A function of GitLab was asked: null when it works, a sentence when not. Undefined: not asked. */
  problem?: string | null;
  /** What will kill it soon: a full disk, no memory. */
  pressure: string | null;
  /** A lease of its epoch is held. */
  mayRun: boolean;
  /** In place of `hardBootMs`, where it is known that this boot takes longer. */
  bootLimitMs?: number;
  /** Why the last start, or the last step before it, failed. Undefined: there was none since the last look. */
  startFailed?: string;
}

export interface GitlabLife {
  readonly condition: GitlabCondition;
  readonly because: string;
  /** It has worked at least once in this epoch. */
  readonly hasStood: boolean;
  /** It has worked since its container was begun. */
  readonly hasWorked: boolean;
  readonly wasRunning: boolean;
  /** How long its container has run, frozen times apart. */
  readonly bootMs: number;
  readonly wrongSinceMs: number | null;
  readonly wellSinceMs: number | null;
  /** What is to be repaired, once its time has come; counted already. */
  readonly fault: string | null;
  /** Faults in a row. */
  readonly faults: number;
  readonly nextTryAtMs: number;
  readonly lookedAtMs: number | null;
}

/** `start`: what there is of it is made to run. `restart`: its container is ended first. */
export type GitlabAct = 'none' | 'start' | 'restart';

/** `hasStood`: the ledger has its address, so it has worked once. */
export const newLife = (hasStood: boolean): GitlabLife => ({
  condition: hasStood ? 'repairing' : 'deploying',
  because: 'it is looked at',
  hasStood,
  hasWorked: false,
  wasRunning: false,
  bootMs: 0,
  wrongSinceMs: null,
  wellSinceMs: null,
  fault: null,
  faults: 0,
  nextTryAtMs: 0,
  lookedAtMs: null,
});

/** So many repairs in a row did not help: it is left alone until a person has it looked at. */
export const isFlagged = ({ faults }: GitlabLife): boolean => faults > gitlabTimings.repairWaitMs.length;

/** A person asks: what was given up is tried again, at once. */
export const unflagged = (life: GitlabLife): GitlabLife => ({ ...life, faults: 0, nextTryAtMs: 0 });

/** Its boot takes half as long already as the last one did: whoever waits for it waits for the look that sees it work, too. */
export const isUpSoon = ({ hasWorked, wasRunning, bootMs }: GitlabLife, usualMs: number): boolean =>
  !hasWorked && wasRunning && bootMs >= usualMs / 2 && bootMs < usualMs * 4;

interface Step {
  life: GitlabLife;
  act: GitlabAct;
}

const stay = (life: GitlabLife): Step => ({ life, act: 'none' });

/** One look: what GitLab's state is now, and what is to be done. Pure; the keeper does it. */
export function nextLife(before: GitlabLife, look: GitlabLook): Step {
  const isRunning = look.container === 'running';
  const passedMs = passedSince(before, look);
  const life: GitlabLife = {
    ...before,
    lookedAtMs: look.nowMs,
    wasRunning: isRunning,
    bootMs: isRunning ? before.bootMs + (look.isFrozen ? 0 : passedMs) : 0,
    hasWorked: isRunning && before.hasWorked,
  };
  if (look.startFailed !== undefined) return repair(withFault(life, look.startFailed, look.nowMs), look);
  if (isRunning && look.isFrozen) return stay({ ...notCounting(life, passedMs), because: standsStill });
  if (!look.mayRun) return stay({ ...notCounting(life, passedMs), because: waits });
  if (isRunning && look.problem === null) return stay(works(life, look));
  if (life.fault !== null) return repair(life, look);
  if (isRunning) return typeof look.problem === 'string' ? running(life, look.problem, look) : stay(life);
  if (look.container === 'absent' && !before.wasRunning && !life.hasStood) return begin(life, 'start', 'it is started');
  const how = look.container === 'ended' ? `ended: ${look.ended ?? 'nobody knows how'}` : 'is gone';
  return repair(withFault(life, `its container ${how}`, look.nowMs), look);
}

/**
 * ms since the last look. Of a container that an agent of before began its age, but so that it has as long as one that was seen to work:
 * nobody knows whether it ever did, and one slow answer to the first question of an agent must not cost a boot.
 */
function passedSince({ lookedAtMs }: GitlabLife, { nowMs, ageMs = 0, bootLimitMs }: GitlabLook): number {
  const { hardBootMs, deadMs } = gitlabTimings;
  if (lookedAtMs === null) return Math.min(ageMs, (bootLimitMs ?? hardBootMs) - deadMs);
  return Math.max(0, nowMs - lookedAtMs);
}

/**
 * Time in which it stood still, or might not run, is no time: what is not ill has a moment to answer once it goes on. What was ill before
 * stays so, or a lease that runs out each two minutes would keep it from ever being begun again; and what was well has been so before.
 */
function notCounting(life: GitlabLife, passedMs: number): GitlabLife {
  const { wrongSinceMs, wellSinceMs, lookedAtMs } = life;
  const isIll =
    wrongSinceMs !== null && lookedAtMs !== null && lookedAtMs - passedMs - wrongSinceMs >= gitlabTimings.degradedMs;
  return {
    ...life,
    wrongSinceMs: isIll ? wrongSinceMs + passedMs : null,
    wellSinceMs: wellSinceMs === null ? null : wellSinceMs + passedMs,
  };
}

const standsStill = 'it stands still: this machine has no leave of the mesh to serve it at this moment';
const waits = 'it waits for the leave of the mesh to run on this machine';

const conditionOf = (life: GitlabLife): GitlabCondition => (life.hasStood ? 'repairing' : 'deploying');

const begin = (life: GitlabLife, act: GitlabAct, because: string): Step => ({
  life: {
    ...life,
    condition: conditionOf(life),
    because,
    fault: null,
    // What is not there at the next look was there.
    wasRunning: true,
    bootMs: 0,
    hasWorked: false,
    wrongSinceMs: null,
    wellSinceMs: null,
  },
  act,
});

function withFault(life: GitlabLife, fault: string, nowMs: number): GitlabLife {
  const nextTryAtMs = nowMs + (gitlabTimings.repairWaitMs[life.faults] ?? 0);
  return { ...life, fault, faults: life.faults + 1, nextTryAtMs, wellSinceMs: null };
}

/** When its turn has come; else in words that say when. */
function repair(life: GitlabLife, { nowMs, container, mayRun }: GitlabLook): Step {
  const fault = life.fault ?? '';
  if (isFlagged(life)) {
    const because = `${fault}; ${plural(life.faults - 1, 'repair')} did not help, so it is left as it is`;
    return stay({ ...life, condition: 'failed', because });
  }
  const waitMs = life.nextTryAtMs - nowMs;
  if (waitMs > 0 || !mayRun)
    return stay({
      ...life,
      condition: conditionOf(life),
      because: waitMs > 0 ? `${fault}; tried again in ${span(waitMs)}` : waits,
    });
  return begin(life, container === 'absent' ? 'start' : 'restart', fault);
}

function works(life: GitlabLife, { pressure, nowMs }: GitlabLook): GitlabLife {
  const wellSinceMs = life.wellSinceMs ?? nowMs;
  const isWell = nowMs - wellSinceMs >= gitlabTimings.wellMs;
  return {
    ...life,
    condition: pressure === null ? 'healthy' : 'degraded',
    because: pressure ?? 'it answers',
    hasStood: true,
    hasWorked: true,
    wrongSinceMs: null,
    wellSinceMs,
    fault: null,
    ...(isWell && { faults: 0 }),
  };
}

/** Slow is not dead: a boot has minutes, and is told from a death by not having worked yet. */
function running(life: GitlabLife, problem: string, look: GitlabLook): Step {
  const { softBootMs, degradedMs, deadMs } = gitlabTimings;
  const { nowMs, bootLimitMs: hardBootMs = gitlabTimings.hardBootMs } = look;
  if (!life.hasWorked) {
    if (life.bootMs >= hardBootMs)
      return repair(withFault(life, `it did not come up within ${span(hardBootMs)}: ${problem}`, nowMs), look);
    const boots =
      life.bootMs < softBootMs ? 'it boots' : `it has booted for ${span(life.bootMs)}, longer than it should`;
    return stay({ ...life, condition: conditionOf(life), because: `${boots}: ${problem}` });
  }
  const wrongSinceMs = life.wrongSinceMs ?? nowMs;
  const wrongMs = nowMs - wrongSinceMs;
  const ill = { ...life, wrongSinceMs };
  if (wrongMs >= deadMs)
    return repair(withFault(ill, `it has not worked for ${span(wrongMs)}: ${problem}`, nowMs), look);
  if (wrongMs < degradedMs) return stay(ill);
  return stay({ ...ill, condition: 'degraded', because: problem, wellSinceMs: null });
}

interface Rooms {
  /** Where its data lie; null where nobody knows. */
  freeBytes: number | null;
  memory: { usedBytes: number; limitBytes: number } | null;
  /** What lies beside its data of an epoch before, and goes on a person's word alone. */
  fenced(): string | undefined;
}

const mib = 2 ** 20;

/** What will end it soon if nobody does anything: PostgreSQL stops at a full disk, the kernel kills at a full memory. */
export function pressureOf({ freeBytes, memory, fenced }: Rooms): string | null {
  if (freeBytes !== null && freeBytes < gitlabTimings.leastFreeBytes) {
    const name = fenced();
    const drop =
      name === undefined ? '' : `, let go of what was served before (autogit-node gitlab fenced drop ${name})`;
    return `its disk is almost full: ${Math.round(freeBytes / mib)} MiB are left; remove old job artifacts${drop}, or make room there`;
  }
  if (memory !== null && memory.limitBytes > 0 && memory.usedBytes > memory.limitBytes * gitlabTimings.memoryShare)
    return `it uses ${Math.round(memory.usedBytes / mib)} of the ${Math.round(memory.limitBytes / mib)} MiB of memory that it may have; with a larger preset it gets more: uninstall it, which keeps its data, and deploy those (autogit-node gitlab deploy --preset)`;
  return null;
}
