import { sentenceOf } from '../../../protocol/errors.ts';
import { copyPorts } from '../../../protocol/names.ts';
import type { RoundTaker } from '../replica/replica-ports.ts';
import { openCopyDoor } from './copy-door.ts';
import { CopyLine } from './copy-line.ts';
import type { DoorAt } from './door-call.ts';
import type { CopyDoor } from './once-door.ts';
import { Turns } from './turns.ts';

const trialMs = 20_000;

/** Holds nothing, and takes nothing. */
const nobodysTaker: RoundTaker = {
  held: async () => [],
  take: async () => {
    throw new Error('this door is for a trial: no copies are held here yet');
  },
};

/** A door that is there to see whether anybody comes through. */
export const openTrialDoor = (): Promise<CopyDoor> => openCopyDoor(nobodysTaker, AbortSignal.timeout(trialMs));

/** Comes through it as a host would, and asks what is held. Why that is not possible; null when it is. */
export async function whyNoWay(door: DoorAt): Promise<string | null> {
  const line = new CopyLine('', async () => door, new Turns());
  try {
    await line.held('hot');
    return null;
  } catch (error) {
    return sentenceOf(error);
  } finally {
    line.close();
  }
}

/** Where nothing comes through: said of the machine that the door is on. */
export const openPorts = (name: string): string =>
  `let TCP ${copyPorts.first} to ${copyPorts.last} in on ${name}, for example: sudo ufw allow ${copyPorts.first}:${copyPorts.last}/tcp`;
