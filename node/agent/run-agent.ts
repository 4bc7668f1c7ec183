import { Agent } from '../agent.ts';
import { openLog } from '../log.ts';
import { createProgress, type Progress } from '../progress-lines.ts';
import type { JoinOptions } from '../settings/settings.ts';
import { stackOf } from '../source-positions.ts';
import { prepareHome } from '../store/home.ts';
import { beginAnew, keepNothing, type Removal, removedSentence } from '../store/removal.ts';
import { finishSwitch } from './switching.ts';

/**
 * Runs the agent until it leaves; returns the exit code. Its life: home, identity and store -> executors (runs of
 * before a restart are adopted before anything else, SAFETY J2) -> network -> a member, at once or after enrolment ->
 * asked to go (`leave`, SIGINT, SIGTERM): hands over, then ends. Jobs' scripts outlive it.
 */
export async function runAgent(
  options: JoinOptions,
  /** May the person be asked whether the service shall run this home at boot? A yes ends this agent with `install`. */
  mayStartAtBoot: ((home: string) => boolean) | null = null,
): Promise<number | 'install'> {
  prepareHome(options.home);
  const log = openLog(options.home, { level: options.verbose ? 'debug' : 'info' });
  const lines = createProgress(options);
  try {
    sayRemoved(lines, beginAnew(options.home));
    for (let life = options; ; ) {
      await finishSwitch(life.home);
      const agent = new Agent(life, log, lines, mayStartAtBoot?.(life.home) ?? false);
      const end = await agent.run();
      if (agent.isWantedAtBoot && end === 0) return 'install';
      if (agent.removal !== null) {
        keepNothing(options.home);
        // Who types `join` at a machine that was removed while it was away wants it back: it asks at once.
        if (agent.removal.wasIn && typeof end === 'number') return end;
        sayRemoved(lines, beginAnew(options.home));
      } else if (typeof end === 'number') return end;
      else life = end;
    }
  } catch (error) {
    log.error(`the agent ends: ${stackOf(error)}`);
    throw error;
  } finally {
    log.close();
  }
}

function sayRemoved(lines: Progress, removal: Removal | null): void {
  if (removal) lines.warn('removed', `${removedSentence(removal)}; it asks to be let in again`);
}
