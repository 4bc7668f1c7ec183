import { appendFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

/** Tells which tests passed at their second try only, so that none of them stays unseen: `npm test` ends with them. */
export default class SecondTry implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const lines: string[] = [];
    for (const module of modules)
      for (const test of module.children.allTests())
        if (test.diagnostic()?.flaky)
          lines.push(
            `${module.relativeModuleId} > ${test.fullName}: ${test.result().errors?.[0]?.message.split('\n')[0] ?? ''}`,
          );
    if (lines.length === 0) return;
    console.log(`passed at the second try only:\n${lines.join('\n')}`);
    if (process.env.AUTOGIT_SECOND_TRIES) appendFileSync(process.env.AUTOGIT_SECOND_TRIES, `${lines.join('\n')}\n`);
  }
}
