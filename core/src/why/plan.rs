//! A call that is not made: a response context forks as it does for a request, and its copies go nowhere.
//!
//! First it is seen what happens at once. Then one branch after the other fails as if its edge had said 430, which brings
//! out the other flows of its UA (RFC 5626 §7) and at last the next group (RFC 3261 §16.6). So nothing here knows the rules of
//! forking: [`proxy::context`] does.

use std::collections::VecDeque;
use std::time::Instant;

use proxy::context::{Action, BranchId, Failure, ResponseContext};
use proxy::target::{Target, TargetSet};
use sip::{Name, Request, StatusCode};

use super::told::{Branch, Group, Way};
use super::{number, text};
use crate::edges::{Edges, Way as Hop};
use crate::engine::Core;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) groups: Vec<Group>,
    /// The answer that comes before any branch has left.
    pub(super) answer: Option<StatusCode>,
}

/// The state of a rehearsal.
struct Rehearsal<'a> {
    edges: &'a Edges,
    targets: &'a [Target],
    context: ResponseContext,
    /// Branches that have left, in the order in which they did.
    waiting: VecDeque<BranchId>,
    /// The first target of each UA, beside its branch in `plan`.
    firsts: Vec<(&'a Target, usize, usize)>,
    plan: Plan,
}

/// What a call with this target set comes to.
pub(super) fn rehearse(edges: &Edges, request: Request, targets: &[Target], now: Instant) -> Plan {
    let set: TargetSet = targets.iter().cloned().collect();
    let context = Core::context_with_tag(request, "why".to_owned());
    let (waiting, firsts, plan) = (VecDeque::new(), Vec::new(), Plan::default());
    let mut rehearsal = Rehearsal { edges, targets, context, waiting, firsts, plan };
    let mut actions = Vec::new();
    rehearsal.context.start(set, now, &mut actions);
    rehearsal.play(actions, now);
    let answer = rehearsal.plan.answer;
    while let Some(branch) = rehearsal.waiting.pop_front() {
        rehearsal.fail(branch, now);
    }
    Plan { answer, ..rehearsal.plan }
}

impl Rehearsal<'_> {
    /// Does what the context asks for, in the order in which a core does it.
    fn play(&mut self, actions: Vec<Action>, now: Instant) {
        let mut todo: VecDeque<_> = actions.into();
        while let Some(action) = todo.pop_front() {
            match action {
                Action::Forward { branch, request, tag } => {
                    if self.forward(branch, &request, tag) {
                        continue;
                    }
                    let mut more = Vec::new();
                    self.context.on_failure(branch, Failure::NoRoute, now, &mut more);
                    more.into_iter().rev().for_each(|action| todo.push_front(action));
                }
                Action::Respond(response) => self.plan.answer = Some(response.status),
                Action::Cancel { .. } | Action::Abandon { .. } | Action::Done => {}
            }
        }
    }

    fn fail(&mut self, branch: BranchId, now: Instant) {
        let mut actions = Vec::new();
        self.context.on_failure(branch, Failure::NoRoute, now, &mut actions);
        self.play(actions, now);
    }

    /// Notes a copy; false when no edge takes it.
    fn forward(&mut self, branch: BranchId, copy: &Request, tag: u64) -> bool {
        let edge = match self.edges.by_route(copy) {
            Hop::Edge(edge) => self.edges.name(edge).map(str::to_owned),
            Hop::None | Hop::Dead | Hop::Foreign => None,
        };
        let leaves = edge.is_some();
        if leaves {
            self.waiting.push_back(branch);
        }
        let route = copy.headers.values(Name::Route).map(text).collect();
        self.note(tag, Way { contact: number(tag), request_uri: text(&copy.uri), route, edge });
        leaves
    }

    /// Another flow of a UA, or the first one of the next UA.
    fn note(&mut self, tag: u64, way: Way) {
        let Some(target) = self.targets.iter().find(|target| target.tag == tag) else { return };
        let is_same = |first: &Target| target.instance.is_some() && first.instance == target.instance;
        let groups = &mut self.plan.groups;
        if let Some((_, group, branch)) = self.firsts.iter().find(|(first, ..)| is_same(first)) {
            let branch = groups.get_mut(*group).and_then(|group| group.branches.get_mut(*branch));
            branch.into_iter().for_each(|branch| branch.ways.push(way.clone()));
            return;
        }
        // §16.6: a group is a q.
        if groups.last().is_none_or(|group| group.q != target.q) {
            groups.push(Group { q: target.q, branches: Vec::new() });
        }
        let group = groups.len() - 1;
        if let Some(last) = groups.last_mut() {
            self.firsts.push((target, group, last.branches.len()));
            last.branches.push(Branch { ways: vec![way] });
        }
    }
}
