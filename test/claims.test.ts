// Claims in several repositories, and where names do not tell `A` from `a`: what the coordinator makes of them.

import { describe, expect, test } from 'vitest';
import { overview } from '../src/domain/views.js';
import { Box } from './support/box.js';
import { RULES } from './support/fleet-model.js';

describe('a claim in another repository', () => {
  test('is held like one that the task there makes for itself', () => {
    const box = new Box();
    box.writes('s/page', ['b'], { role: 'site' });
    box.writes('s/both', ['a', 'web:b/c']);
    expect(box.sentence('s/both')).toBe('web:b/c overlaps web:b, held by s/page');
    box.cancel('s/page');
    box.stops('s/page', { kind: 'failed', dead: true, code: 'CANCELLED_BY_REQUEST', text: '' });
    expect(box.phase('s/both')).toBe('running');
  });

  test('holds off the task there, and nobody in the repository at hand', () => {
    const box = new Box();
    box.writes('s/both', ['a', 'web:b']);
    box.writes('s/here', ['b']);
    box.writes('s/page', ['b/c'], { role: 'site' });
    expect(box.phase('s/here')).toBe('running');
    expect(box.sentence('s/page')).toBe('web:b/c overlaps web:b, held by s/both');
  });

  test('is the same as one without a name in its own repository', () => {
    const box = new Box();
    box.writes('s/a', ['app:src']);
    box.writes('s/b', ['src/x']);
    expect(box.why('s/b')).toBe('PATH_HELD');
  });

  test('holds for persons too', () => {
    const box = new Box();
    box.hand('hand/ann', ['web:b', 'a'], { wait: true });
    box.writes('s/page', ['b'], { role: 'site' });
    box.writes('s/here', ['a/b']);
    expect(box.sentence('s/page')).toContain('held by hand/ann');
    expect(box.sentence('s/here')).toContain('held by hand/ann');
    expect(overview(box.state, box.now).claims).toMatchObject([
      { holder: 'hand/ann', paths: ['web:b', 'a'] },
    ]);
  });

  test('waits for a configuration that has the repository', () => {
    const box = new Box();
    box.writes('s/a', ['a', 'blog:posts']);
    expect(box.sentence('s/a')).toBe(
      'it claims blog:posts, and the configuration in force has no repository blog',
    );
    box.tell({
      kind: 'rules',
      rules: { ...RULES, repositories: { ...RULES.repositories, blog: { caseInsensitive: false } } },
    });
    expect(box.phase('s/a')).toBe('running');
    box.hand('hand/ann', ['blag:posts']);
    expect(box.why('hand/ann')).toBe('REPOSITORY_UNKNOWN');
    expect(box.phase('hand/ann')).toBe('ended');
  });
});

describe('a repository that takes `A` for `a`', () => {
  test('has one claim for both, another has two', () => {
    const box = new Box();
    box.writes('s/page', ['Guide/README.md'], { role: 'site' });
    box.writes('s/other', ['guide/readme.md'], { role: 'site' });
    expect(box.sentence('s/other')).toBe('guide/readme.md overlaps Guide/README.md, held by s/page');
    box.writes('s/a', ['Guide/README.md']);
    box.writes('s/b', ['guide/readme.md']);
    expect([box.phase('s/a'), box.phase('s/b')]).toEqual(['running', 'running']);
  });

  test('may become one, or cease to be one, while the fleet runs', () => {
    const box = new Box();
    const app = (caseInsensitive: boolean) => ({
      kind: 'rules' as const,
      rules: { ...RULES, repositories: { ...RULES.repositories, app: { caseInsensitive } } },
    });
    box.writes('s/a', ['Docs']);
    box.tell(app(true));
    box.writes('s/b', ['docs']);
    expect(box.why('s/b')).toBe('PATH_HELD');
    box.tell(app(false));
    expect(box.phase('s/b')).toBe('running');
    box.cancel('s/a');
    box.stops('s/a', { kind: 'failed', dead: true, code: 'CANCELLED_BY_REQUEST', text: '' });
    box.tell(app(true));
    box.writes('s/c', ['DOCS/x']);
    expect(box.sentence('s/c')).toContain('held by s/b');
  });
});
