package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/tidegate-k3s/tidegate/bench/karpenter"
	"github.com/tidegate-k3s/tidegate/bench/mix"
	"github.com/tidegate-k3s/tidegate/bench/tidegate"
	"github.com/tidegate-k3s/tidegate/bench/verify"
	"github.com/tidegate-k3s/tidegate/capacity"
)

func main() {
	for _, a := range os.Args[1:] {
		n, _ := strconv.Atoi(a)
		pods := mix.Pods(n)
		cat := mix.InstanceTypes()
		t := time.Now()
		pools := tidegate.Pools(mix.Offers(cat), n)
		t1 := time.Now()
		s := tidegate.Snapshot(pods, pools)
		t2 := time.Now()
		d := capacity.Plan(s)
		t3 := time.Now()
		m := 0
		for _, g := range d.Grows {
			m += g.To - g.From
		}
		fmt.Println(n, "pools", t1.Sub(t), "compile", t2.Sub(t1), "plan", t3.Sub(t2), "machines", m)
		r, err := karpenter.Run(pods, cat)
		if err != nil {
			panic(err)
		}
		fmt.Println("karpenter", r.Prepare, r.Solve, len(r.Machines))
		var ms []verify.Machine
		for i, o := range r.Machines {
			o.Labels["kubernetes.io/hostname"] = fmt.Sprint(i)
			ms = append(ms, verify.Machine{Labels: o.Labels, Allocatable: o.Allocatable})
		}
		var pl []verify.Placement
		for _, p := range r.Order {
			pl = append(pl, verify.Placement{Pod: p, Machine: r.Machine[p.UID]})
		}
		t = time.Now()
		fmt.Println(verify.Check(pods, ms, pl), time.Since(t))
	}
}
