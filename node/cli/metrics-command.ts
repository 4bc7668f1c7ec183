import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';

/** `metrics`: what `/metrics` of the agent's page says, without a key: whoever may open agent.sock may see it. */
export async function metrics(context: Context): Promise<number> {
  const text = await (await agentOf(context)).metrics();
  context.out.data(text.trimEnd());
  return exit.ok;
}
