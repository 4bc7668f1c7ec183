import { asRootService } from '../../machine/as-service.ts';
import type { PlaceRoom } from '../data-place.ts';
import { placeFacts } from '../deploy-facts.ts';
import { choosePlace, ownersReserve, type PlaceAt } from '../place-choice.ts';
import { placeProblem } from '../place-problem.ts';

/** Of an image, at first: it grows with what it is brought. */
const firstBytes = 2 * 2 ** 30;

/** Where a standby holds its copies: chosen as the host's own place is, and the same one ever after. */
export function standbyPlace(
  folder: string,
  { mesh, data }: { mesh: string; data: string },
): { place: PlaceAt; room: PlaceRoom } {
  const facts = placeFacts(folder, mesh);
  if ('problem' in facts) throw placeProblem(facts.problem, facts.fix);
  const chosen = choosePlace(facts, firstBytes);
  if ('refused' in chosen) throw placeProblem(chosen.refused, chosen.fix);
  if (chosen.kind === 'folder')
    throw placeProblem(chosen.because.replace(/, so GitLab.*$/, ', so no copies'), asRootService());
  if (chosen.data !== null && chosen.data !== data)
    throw placeProblem(`${folder} holds copies of another GitLab`, `look at it: ls -la ${folder}`);
  const room = { bytes: firstBytes, reserveBytes: ownersReserve(facts.totalBytes) };
  return { place: { kind: chosen.kind, path: chosen.path }, room };
}
