import type { Answer } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { ProtectedGitlab } from '../../protocol/protected-gitlab.ts';
import { checkOf } from '../hosting/deploy-check.ts';
import { protectFacts } from '../hosting/protect/protect-facts.ts';
import { chooseWay, protectLines, whereKept } from '../hosting/protect/protect-way.ts';
import { dataOf, namedContainer } from '../hosting/protect/protected-container.ts';
import { omnibusContainers } from '../machine/omnibus-containers.ts';

/** Whether the GitLab that runs here in that container (null: the only one) can be backed up, how, and what that costs. */
export async function checkProtect(
  container: string | null,
  where: { home: string; dockerHost: string | null },
): Promise<Answer> {
  const refused = (sentence: string, fix: string): Answer => ({
    kind: 'protect-checked',
    checks: [checkOf('fail', 'container', sentence, fix)],
    found: null,
  });
  try {
    const all = await omnibusContainers(where.dockerHost, ({ name }) => name === container);
    const meant = namedContainer(container, all);
    if ('refused' in meant) return refused(meant.refused, meant.fix);
    const facts = await protectFacts(meant.container, { home: where.home, counts: true });
    const choice = chooseWay(facts);
    const checks = protectLines(facts, choice);
    if ('refused' in choice) return { kind: 'protect-checked', checks, found: null };
    const { success, data: folder } = ProtectedGitlab.shape.folder.safeParse(dataOf(meant.container));
    if (!success || !ProtectedGitlab.shape.container.safeParse(facts.container.name).success)
      return refused(`${facts.data} or ${facts.container.name} is no name that the mesh can keep`, 'name it otherwise');
    const keeps = 'folder' in whereKept(facts);
    const found = { container: facts.container.name, folder, way: choice.way, ...(keeps && { keeps }) };
    return { kind: 'protect-checked', checks, found };
  } catch (error) {
    if (!(error instanceof AutogitError)) throw error;
    return refused(error.message, error.hint);
  }
}
