//! Trees that are linked and cut while their roots are asked for: Sleator and Tarjan's link-cut trees, on splay trees.
//!
//! Why: the references of a message may name 1,000 ancestors and knot 100,000 messages into one chain; looking for a
//! circle by walking up takes the square of that. Here each operation is O(log n), amortised.
//! Invariants: what is represented is a forest; [`LinkCut::link`] is called with a root, and never makes a circle.
//! Not here: which links are made (`references`).

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    /// In the splay tree, or, at its root, the node the path's top hangs from.
    up: u32,
    /// Nearer to the root of the represented tree; farther.
    child: [u32; 2],
}

/// A forest of numbered nodes.
#[derive(Debug, Default)]
pub struct LinkCut {
    nodes: Vec<Node>,
}

impl LinkCut {
    /// A new node alone in its tree.
    pub fn push(&mut self) {
        self.nodes.push(Node {
            up: NONE,
            child: [NONE; 2],
        });
    }

    /// The root of the tree that `node` is in.
    pub fn root(&mut self, node: u32) -> u32 {
        self.access(node);
        let mut root = node;
        while self.child(root, 0) != NONE {
            root = self.child(root, 0);
        }
        // Brings the work of the way down to the top, as the amortisation asks.
        self.splay(root);
        root
    }

    /// Hangs `root`, the root of another tree, below `parent`.
    pub fn link(&mut self, root: u32, parent: u32) {
        self.access(root);
        self.nodes[root as usize].up = parent;
    }

    /// Takes `node` off its parent.
    pub fn cut(&mut self, node: u32) {
        self.access(node);
        let above = self.child(node, 0);
        if above != NONE {
            self.nodes[above as usize].up = NONE;
            self.nodes[node as usize].child[0] = NONE;
        }
    }

    fn child(&self, node: u32, side: usize) -> u32 {
        self.nodes[node as usize].child[side]
    }

    /// Makes the path from the root to `node` one splay tree with `node` on top and nothing below it.
    fn access(&mut self, node: u32) {
        let mut below = NONE;
        let mut at = node;
        while at != NONE {
            self.splay(at);
            self.nodes[at as usize].child[1] = below;
            below = at;
            at = self.nodes[at as usize].up;
        }
        self.splay(node);
    }

    /// Which child of its parent in the splay tree a node is; `None` at the top.
    fn side(&self, node: u32) -> Option<usize> {
        let up = self.nodes[node as usize].up;
        if up == NONE {
            return None;
        }
        self.nodes[up as usize]
            .child
            .iter()
            .position(|child| *child == node)
    }

    fn splay(&mut self, node: u32) {
        while let Some(side) = self.side(node) {
            let up = self.nodes[node as usize].up;
            if let Some(side_above) = self.side(up) {
                self.rotate(if side == side_above { up } else { node });
            }
            self.rotate(node);
        }
    }

    fn rotate(&mut self, node: u32) {
        let Some(side) = self.side(node) else { return };
        let up = self.nodes[node as usize].up;
        let above = self.nodes[up as usize].up;
        if let Some(side_above) = self.side(up) {
            self.nodes[above as usize].child[side_above] = node;
        }
        let inner = self.child(node, 1 - side);
        if inner != NONE {
            self.nodes[inner as usize].up = up;
        }
        self.nodes[up as usize].child[side] = inner;
        self.nodes[up as usize].up = node;
        self.nodes[node as usize].child[1 - side] = up;
        self.nodes[node as usize].up = above;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive_root(parents: &[Option<u32>], mut node: u32) -> u32 {
        while let Some(parent) = parents[node as usize] {
            node = parent;
        }
        node
    }

    proptest! {
        #[test]
        fn roots_are_those_of_a_walk(steps in proptest::collection::vec((0..12_u32, 0..12_u32, any::<bool>()), 0..80)) {
            let mut trees = LinkCut::default();
            let mut parents = vec![None; 12];
            (0..12).for_each(|_| trees.push());
            for (a, b, is_cut) in steps {
                if is_cut {
                    trees.cut(a);
                    parents[a as usize] = None;
                } else if parents[a as usize].is_none() && naive_root(&parents, b) != a {
                    trees.link(a, b);
                    parents[a as usize] = Some(b);
                }
                for node in 0..12 {
                    prop_assert_eq!(trees.root(node), naive_root(&parents, node));
                }
            }
        }
    }

    #[test]
    fn a_chain_of_a_million_is_done_at_once() {
        let mut trees = LinkCut::default();
        (0..1_000_000).for_each(|_| trees.push());
        for node in 1..1_000_000 {
            trees.link(node, node - 1);
            if node % 1_000 == 0 {
                assert_eq!(trees.root(node), 0);
            }
        }
    }
}
