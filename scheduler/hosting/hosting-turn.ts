import type { PartTurn } from '../part-turn.ts';
import type { HostingState } from './hosting-state.ts';

/** One step of this part under way, as in jobs/jobs-turn.ts: `hosting` is a shallow copy whose fields are replaced. */
export interface HostingTurn extends PartTurn {
  readonly hosting: { -readonly [K in keyof HostingState]: HostingState[K] };
}
