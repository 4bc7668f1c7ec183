import { sentenceOf } from '../../../protocol/errors.ts';
import type { HostedAt } from '../../../protocol/hosted-move.ts';
import { asSentence } from '../../../protocol/ids.ts';
import type { MessageOf } from '../../../protocol/messages.ts';
import { withLimit } from '../../executors/docker-engine.ts';
import type { RoundPromise } from '../replica/round-promise.ts';
import type { ServiceHost } from '../service-host.ts';
import type { TargetFitness } from './target-fitness.ts';

interface PromisedRoundOptions {
  /** False: its owner wants nothing on it that another machine runs. */
  isAllowed: boolean;
  promise(): Promise<RoundPromise>;
  host: Pick<ServiceHost, 'check'>;
  /** Whether it could be started here now, after that time at most. */
  fitness(withinMs: number): Promise<TargetFitness>;
  /** How others reach it. */
  at(): Pick<HostedAt, 'hostname' | 'ipv6'>;
}

type RoundTold = Pick<MessageOf<'round-told'>, 'round' | 'takenAt' | 'there' | 'because' | 'rather'>;

/** An engine that does not answer in this time starts nothing: ms, less than the leader waits. */
const engineMs = 1_500;
/** A first look may take longer: ms, less than a leader waits where nobody else is ready. Until then it is not answered, and asked again. */
const fitnessMs = 5_000;

/** With which round GitLab could go on here, and where it would lie; or why it could not (SAFETY H10). */
export async function promisedRound({
  isAllowed,
  promise,
  host,
  fitness,
  at,
}: PromisedRoundOptions): Promise<RoundTold> {
  const not = (because: string): RoundTold => ({
    round: null,
    takenAt: null,
    there: null,
    because: asSentence(because),
  });
  if (!isAllowed) return not("its owner's settings say that it holds nothing of what another machine runs");
  const looked = fitness(fitnessMs);
  try {
    await withLimit(host.check(), engineMs);
  } catch (error) {
    return not(`its engine cannot start GitLab: ${sentenceOf(error)}`);
  }
  const { never, rather } = await looked;
  if (never !== null) return not(never);
  const found = await promise();
  if ('because' in found) return not(found.because);
  const { round, takenAt, place } = found;
  return {
    round,
    takenAt,
    there: { place: { ...place }, ...at() },
    because: null,
    ...(rather !== null && { rather: asSentence(rather) }),
  };
}
